// The error of a request that is refused.

#ifndef TOKEN_SAMPLER_SERVER_INVALID_ARGUMENT_H_
#define TOKEN_SAMPLER_SERVER_INVALID_ARGUMENT_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace token_sampler {

// InvalidArgument with the parts as its message, as absl::StrCat joins them.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_INVALID_ARGUMENT_H_
