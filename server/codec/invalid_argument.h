// Makes the error for a request that is refused.

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

// Returns the error for a request whose `bytes` bytes do not parse as a message of `type`, its full
// name.
inline absl::Status NotOfType(absl::string_view type, uint64_t bytes) {
  return Invalid("the request must be a ", type, ", its ", bytes, " bytes are none");
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_
