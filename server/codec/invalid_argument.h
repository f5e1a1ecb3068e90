// The error of a request that is refused.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_
#define TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

// InvalidArgument with the parts as its message, as absl::StrCat joins them.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// For a request of whose message type, by its full name, these bytes are none.
inline absl::Status NotOfType(absl::string_view type, uint64_t bytes) {
  return Invalid("the request must be a ", type, ", its ", bytes, " bytes are none");
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_INVALID_ARGUMENT_H_
