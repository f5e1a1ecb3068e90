// VerifyDraft between the wire and the sampler; see request_codec.h.

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

// Tokens of the histories of one call, each counted for every row of its sequence: bounds the time
// that penalties take.
inline constexpr uint64_t kMaxHistoryTokens = uint64_t{1} << 30;

// A request as VerifyDrafts takes it. `inputs` point into the request, into this object and into
// what `rows` has allocated, so none of them may move or go while they are in use.
struct DecodedDrafts {
  DecodedDrafts() = default;
  DecodedDrafts(const DecodedDrafts&) = delete;
  DecodedDrafts& operator=(const DecodedDrafts&) = delete;

  std::shared_ptr<const RegionRows> target_rows;  // when they lie in a region
  std::shared_ptr<const RegionRows> draft_rows;
  std::vector<SamplingParams> profiles;
  std::vector<RowInput> rows;                // the target's, then the draft's
  std::vector<RowHistory> histories;         // [sequences], or none
  std::vector<uint32_t> skipped_ids;         // [sequences], when unknown ids of those are skipped
  std::vector<RowKey> keys;                  // [sequences]
  std::vector<DraftInput> inputs;            // the sequences that can be verified
  std::vector<std::string> sequence_errors;  // [sequences], empty where the parameters are valid
  bool trees = false;                        // whether the answer names nodes
};

// The most bytes that the answer and the results that it is made of take.
uint64_t DraftAnswerBytes(const DecodedDrafts& decoded);

// The bytes that VerifyDrafts needs while it runs, besides the sampler's own buffers.
uint64_t DraftWorkBytes(const DecodedDrafts& decoded);

// InvalidArgument names the field, its value and what is accepted. A profile whose values are out
// of range fails the sequences that use it; when that is every one, it is the call's error.
absl::Status DecodeVerifyDraft(const v1::VerifyDraftRequest& request, const RequestLimits& limits,
                               DecodedDrafts& decoded);

// `results` belong to decoded.inputs, one each.
void EncodeVerifyDraft(const DecodedDrafts& decoded, absl::Span<const DraftResult> results,
                       v1::VerifyDraftResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_VERIFY_DRAFT_CODEC_H_
