// "Did you mean": the known name that is most like a misspelt one.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace token_sampler {

// The known name that takes the fewest edits of one character from `name`, ignoring case; the first
// if there are several. Empty when it takes more than one edit per three characters.
std::string NearestName(absl::string_view name, const std::vector<std::string>& known);

// The end of an error message: "; did you mean NEAREST?", or "".
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& known);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_
