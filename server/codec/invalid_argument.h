// Makes the errors for requests that are refused.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_
#define TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

// Returns InvalidArgument with the parts, joined by absl::StrCat, as its message.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// Returns `status` with the name of what it is about before its message: "tensor.region: no region
// has the name \"logits\"". Returns OK if it is OK.
inline absl::Status NamedStatus(absl::string_view name, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

// Returns the error for a request whose `bytes` bytes do not parse as a message of `type`, its full
// name.
inline absl::Status NotOfType(absl::string_view type, uint64_t bytes) {
  return Invalid("the request's ", bytes, " bytes are not a valid ", type);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_
