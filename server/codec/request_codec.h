// Decodes requests and encodes answers of Sample. It checks everything that it decodes, so the
// decoded rows are valid for any Sampler.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"
#include "server/codec/candidates_codec.h"
#include "server/codec/row_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// The most draws of all rows of one call, and the most values of each other output. Bounds the
// response.
inline constexpr uint64_t kMaxValuesPerCall = uint64_t{1} << 24;

// An upper bound of the size of an answer.
struct AnswerSize {
  uint64_t message = 0;  // in bytes, on the wire
  uint64_t memory = 0;   // in bytes, of the rows while they are sampled, their results and the
                         // answer
};

// A decoded request. Rows point into the request and into this object, so neither may move or be
// destroyed while they are in use.
struct DecodedSample {
  DecodedSample() = default;
  DecodedSample(const DecodedSample&) = delete;
  DecodedSample& operator=(const DecodedSample&) = delete;

  // True if the row cannot be sampled.
  bool HasError(size_t row) const { return !row_errors.empty() && !row_errors[row].empty(); }
  // Frees what only sampling needs. Call it after the answer was encoded.
  void Release();

  std::shared_ptr<const RegionRows> region_rows;  // if the rows are in a region
  DecodedCandidates candidates;  // has the rows' values if the tensor has candidates
  Profiles profiles;
  OutputOptions outputs;
  bool stateful = false;                // true: the answer has states for the next step
  DecodedHistories histories;           // of the rows, or none
  std::vector<RowState> states;         // [rows], or none
  std::vector<RowKey> keys;             // [rows]
  std::vector<RowInput> inputs;         // the rows that can be sampled
  std::vector<std::string> row_errors;  // [rows], "" for rows that can be sampled; no entries if
                                        // all can be
  AnswerSize answer;
};

// Decodes a request whose fields were checked (field_check.h). InvalidArgument names the field, its
// value and what is accepted, also if the answer could be too large. A profile whose values are out
// of range fails the rows that use it; if every row fails, the call gets the error of the first. If
// `data` is not null, it is used instead of the bytes in request.tensor.data.
absl::Status DecodeSample(const v1::SampleRequest& request, const CallContext& context,
                          DecodedSample& decoded, const SlicedBytes* data = nullptr);

// Returns the status of a call whose rows were sampled with `status`: also an error if the rows'
// region could not be read, or is no longer the one that was registered. Releases the rows before
// the answer is sent, so that a caller who has the answer can unregister the region without
// waiting.
absl::Status CallStatus(const absl::Status& status, std::shared_ptr<const RegionRows> region_rows);

// Decodes what the answer has besides tokens. There must be at least one row, and all must have
// their parameters, because these bound the answer.
absl::StatusOr<OutputOptions> DecodeOutputs(const v1::OutputOptions& message,
                                            const std::vector<RowInput>& rows);

// Takes over the rows that have no error, with their keys and outputs, and measures the answer to
// all rows. The error of the first row if no row can be sampled, InvalidArgument if the answer may
// be too large.
absl::Status TakeRows(std::vector<RowInput> rows, const CallContext& context,
                      DecodedSample& decoded);

// Encodes the answer. `results` has one result per row of decoded.inputs. Call FinishCandidates
// before.
void EncodeSample(const DecodedSample& decoded, absl::Span<const RowResult> results,
                  v1::SampleResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_REQUEST_CODEC_H_
