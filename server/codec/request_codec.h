// Between the wire and the sampler: the only reader and writer of request and response fields, and
// the one place that distrusts input. What it decodes is valid for any Sampler.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"
#include "server/codec/candidates_codec.h"
#include "server/codec/row_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Draws, and values of each other output, of all rows of one call: bounds the response.
inline constexpr uint64_t kMaxValuesPerCall = uint64_t{1} << 24;

// The most that an answer takes.
struct AnswerSize {
  uint64_t message = 0;  // bytes on the wire
  uint64_t memory = 0;   // of the rows as they are sampled, their results, and the answer from them
};

// A request as the sampler takes it. Rows point into the request and into this object, so neither
// may move or go while they are in use.
struct DecodedSample {
  DecodedSample() = default;
  DecodedSample(const DecodedSample&) = delete;
  DecodedSample& operator=(const DecodedSample&) = delete;

  // Frees what is needed for sampling alone, once the answer is there.
  void Release();

  std::shared_ptr<const RegionRows> region_rows;  // when the rows lie in a region
  DecodedCandidates candidates;  // where the rows are, when the tensor has candidates
  std::vector<SamplingParams> profiles;
  OutputOptions outputs;
  bool stateful = false;                // whether a row's answer has a state for its next step
  std::vector<RowHistory> histories;    // [rows], or none
  std::vector<uint32_t> skipped_ids;    // [rows] of the histories, when unknown ones are skipped
  std::vector<RowState> states;         // [rows], or none
  std::vector<RowKey> keys;             // [rows]
  std::vector<RowInput> inputs;         // the rows that can be sampled
  std::vector<std::string> row_errors;  // [rows], empty where the parameters are valid; or no
                                        // entries when all are
  AnswerSize answer;
};

// Decodes a request whose fields were checked (field_check.h).
// InvalidArgument names the field, its value and what is accepted; so it does when the answer could
// be too large. A profile whose values are out of range fails the rows that use it; when that is
// every row, it is the call's error. `data`, if it is not null, is used instead of the bytes in
// request.tensor.data.
absl::Status DecodeSample(const v1::SampleRequest& request, const RequestLimits& limits,
                          DecodedSample& decoded, const SlicedBytes* data = nullptr);

// The status of a call whose rows were sampled with `status`: an error too when the region that
// they lie in could not be read or is not the one any more that was registered. The rows end here,
// before the answer goes: who has it may unregister the region without waiting.
absl::Status CallStatus(const absl::Status& status, std::shared_ptr<const RegionRows> region_rows);

// What comes back besides tokens. `rows`, of which there is at least one, have their parameters:
// they bound the answer.
absl::Status DecodeOutputs(const v1::OutputOptions& message, const std::vector<RowInput>& rows,
                           OutputOptions& outputs);

// The size of the answer to a call of so many rows, of which `rows` can be sampled. InvalidArgument
// when it is above the limit.
absl::Status MeasureAnswer(size_t all_rows, const std::vector<RowInput>& rows,
                           const OutputOptions& outputs, const RequestLimits& limits,
                           AnswerSize& answer);

// `results` belong to decoded.inputs, one each. Those of candidates must have been finished.
void EncodeSample(const DecodedSample& decoded, absl::Span<const RowResult> results,
                  v1::SampleResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_
