// "Did you mean": the known name that a misspelt one is most like.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace token_sampler {

// The first of the known names that the fewest edits of one character make of `name`, whatever the
// case of its letters. Empty when even that takes an edit for more than every third character.
std::string NearestName(absl::string_view name, const std::vector<std::string>& known);

// The end of an error message: "; did you mean NEAREST?", or empty.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& known);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_NEAREST_NAME_H_
