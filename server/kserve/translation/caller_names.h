// The names that callers of the Open Inference Protocol use for fields of the native request, so
// that the native codec's errors name what the caller wrote.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_CALLER_NAMES_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_CALLER_NAMES_H_

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"

namespace token_sampler {

class CallerNames {
 public:
  CallerNames() = default;
  explicit CallerNames(const inference::ModelInferRequest& request);

  // Replaces every path of a native field in the text with the caller's: "params[0].top_p" becomes
  // "inputs.top_p" or "parameters.top_p", whichever was sent; "tensor.region" becomes
  // "inputs.logits".
  std::string Translate(absl::string_view text) const;

  // Does the same to the message of a status.
  absl::Status Translate(const absl::Status& status) const;

 private:
  std::string TranslateWord(absl::string_view word) const;
  std::string TranslateOutput(absl::string_view option) const;
  std::string WithPlace(absl::string_view field) const;

  std::set<std::string, std::less<>> inputs_;
  std::set<std::string, std::less<>> outputs_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_CALLER_NAMES_H_
