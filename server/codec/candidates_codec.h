// Decodes Tensor.candidates: rows of which a request has only the likeliest tokens. They are
// sampled as short rows, and the answer has the tokens' real ids.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sampler/candidates.h"
#include "sampler/sampler.h"
#include "server/codec/row_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// The candidates of one call, by ascending id within each row. Rows point into this.
struct DecodedCandidates {
  std::vector<size_t> begins;        // [rows + 1] into ids; empty: the call has no candidates
  std::vector<uint32_t> ids;         // of all rows
  std::vector<char> values;          // one element per id
  std::vector<LeftOut> left_out;     // [rows]
  std::vector<bool> exact;           // [rows], set by ChooseDraws
  std::list<SamplingParams> params;  // for rows whose draws need parameters other than their own
  std::vector<uint32_t> sampled;     // the row's index, per sampled input
  bool reject = false;               // rows whose draws are not exact fail
};

// Checks and sorts the candidates. Returns their rows, which still have the vocab of the whole row.
// InvalidArgument names the field, its value and what is accepted.
absl::StatusOr<std::vector<RowInput>> DecodeCandidates(const v1::Tensor& tensor, InputKind kind,
                                                       const CallContext& context,
                                                       DecodedCandidates& candidates);

// InvalidArgument if a request with candidates asks for what they do not allow: adjustments and
// histories name tokens that may be missing, and outputs of the row as received need all of it.
absl::Status CheckCandidateRequest(const v1::SampleRequest& request,
                                   absl::Span<const SamplingParams> profiles);

// Turns a row, whose parameters must be valid, into one of only its candidates, and decides if its
// draw equals that of the whole row. Does nothing if the call has no candidates.
void ChooseDraw(uint32_t row_index, DecodedCandidates& candidates, RowInput& row);

// Replaces positions in the results by the tokens' real ids, and sets the codes of rows that are
// not exact. Does nothing if the call has no candidates.
void FinishCandidates(const DecodedCandidates& candidates, absl::Span<RowResult> results);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_
