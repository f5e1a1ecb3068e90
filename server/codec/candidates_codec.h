// Tensor.candidates: rows of which a request holds the likeliest tokens alone. They are sampled as
// short rows of their own, and the answer has the tokens' real ids.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/candidates.h"
#include "sampler/sampler.h"
#include "server/codec/row_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// The candidates of one call, by ascending id within each row. Rows point into it.
struct DecodedCandidates {
  std::vector<size_t> begins;        // [rows + 1] into ids; empty: the call has no candidates
  std::vector<uint32_t> ids;         // of all rows
  std::vector<char> values;          // as many elements
  std::vector<LeftOut> left_out;     // [rows]
  std::vector<bool> exact;           // [rows], set by ChooseDraws
  std::list<SamplingParams> params;  // of rows that draw with others than their own
  std::vector<uint32_t> sampled;     // the row of each sampled input
  bool reject = false;               // rows that are not exact fail
};

// Checks and sorts the candidates; `rows` have the whole row's vocab for now. InvalidArgument names
// the field, its value and what is accepted.
absl::Status DecodeCandidates(const v1::Tensor& tensor, InputKind kind, const RequestLimits& limits,
                              DecodedCandidates& candidates, std::vector<RowInput>& rows);

// What a request must not ask for of candidates: adjustments and histories name tokens that may not
// be there, and outputs of the row as received need all of it.
absl::Status CheckCandidateRequest(const v1::SampleRequest& request,
                                   absl::Span<const SamplingParams> profiles);

// Makes a row whose parameters are valid one of the candidates alone, and decides whether its draw
// is that of the whole row.
void ChooseDraw(uint32_t row_index, DecodedCandidates& candidates, RowInput& row);

// Results get the tokens' real ids, and the code of their exactness.
void FinishCandidates(const DecodedCandidates& candidates, absl::Span<RowResult> results);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_CANDIDATES_CODEC_H_
