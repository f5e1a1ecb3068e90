// Decodes requests and encodes answers of VerifyDraft; see request_codec.h.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_VERIFY_DRAFT_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_VERIFY_DRAFT_CODEC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/sampler.h"
#include "sampler/verify_draft.h"
#include "server/codec/row_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// The most tokens in the histories of one call, each counted once per row of its sequence. Bounds
// the time that penalties take.
inline constexpr uint64_t kMaxHistoryTokens = uint64_t{1} << 30;

// A decoded request. `inputs` point into the request, into this object and into the memory of
// `rows`, so none of these may move or be destroyed while they are in use.
struct DecodedDrafts {
  DecodedDrafts() = default;
  DecodedDrafts(const DecodedDrafts&) = delete;
  DecodedDrafts& operator=(const DecodedDrafts&) = delete;

  // True if the sequence cannot be verified.
  bool HasError(size_t sequence) const {
    return !sequence_errors.empty() && !sequence_errors[sequence].empty();
  }

  std::shared_ptr<const RegionRows> target_rows;  // if they are in a region
  std::shared_ptr<const RegionRows> draft_rows;
  Profiles profiles;
  std::vector<RowInput> rows;                // the target's, then the draft's
  DecodedHistories histories;                // of the sequences, or none
  std::vector<RowKey> keys;                  // [sequences]
  std::vector<DraftInput> inputs;            // the sequences that can be verified
  std::vector<std::string> sequence_errors;  // [sequences], "" for sequences that can be verified;
                                             // no entries if all can be
  bool trees = false;                        // true: the answer names the accepted nodes
};

// Returns an upper bound of the bytes that the answer and its results take.
uint64_t DraftAnswerBytes(const DecodedDrafts& decoded);

// Returns the bytes that VerifyDrafts needs while it runs, besides the sampler's own buffers.
uint64_t DraftWorkBytes(const DecodedDrafts& decoded);

// InvalidArgument names the field, its value and what is accepted. A profile whose values are out
// of range fails the sequences that use it; if every sequence fails, the call gets the error of the
// first.
absl::Status DecodeVerifyDraft(const v1::VerifyDraftRequest& request, const CallContext& context,
                               DecodedDrafts& decoded);

// Encodes the answer. `results` has one result per sequence of decoded.inputs.
void EncodeVerifyDraft(const DecodedDrafts& decoded, absl::Span<const DraftResult> results,
                       v1::VerifyDraftResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_VERIFY_DRAFT_CODEC_H_
