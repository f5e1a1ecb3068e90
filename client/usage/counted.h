// Formats numbers of things in messages.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_COUNTED_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_COUNTED_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

// "1 row", "2 rows". Pass `plural` if it is not `noun` with an s: "1 entry", "2 entries".
template <typename Integer>
std::string Counted(Integer count, absl::string_view noun, absl::string_view plural = "") {
  if (count == 1) return absl::StrCat(count, " ", noun);
  return plural.empty() ? absl::StrCat(count, " ", noun, "s") : absl::StrCat(count, " ", plural);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_COUNTED_H_
