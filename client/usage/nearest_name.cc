#include "client/usage/nearest_name.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

// No known name is longer. Bounds the time for a name of megabytes.
constexpr size_t kMaxNameSize = 64;

// The least number of characters to insert, remove, replace or swap with the next.
size_t EditDistance(absl::string_view from, absl::string_view to) {
  // [i][j]: of the first i characters of `from` and the first j of `to`.
  std::vector<std::vector<size_t>> edits(from.size() + 1, std::vector<size_t>(to.size() + 1));
  for (size_t i = 0; i <= from.size(); ++i) {
    for (size_t j = 0; j <= to.size(); ++j) {
      if (i == 0 || j == 0) {
        edits[i][j] = i + j;
        continue;
      }
      const size_t replaced = edits[i - 1][j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
      edits[i][j] = std::min({replaced, edits[i - 1][j] + 1, edits[i][j - 1] + 1});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
        edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
      }
    }
  }
  return edits[from.size()][to.size()];
}

}  // namespace

std::string NearestName(absl::string_view name, const std::vector<std::string>& known) {
  if (name.size() > kMaxNameSize) return "";
  const std::string lower = absl::AsciiStrToLower(name);
  const std::string* nearest = nullptr;
  size_t fewest = 0;
  for (const std::string& candidate : known) {
    const size_t edits = EditDistance(lower, absl::AsciiStrToLower(candidate));
    if (3 * edits > std::max(name.size(), candidate.size())) continue;
    if (nearest != nullptr && edits >= fewest) continue;
    nearest = &candidate;
    fewest = edits;
  }
  return nearest == nullptr ? "" : *nearest;
}

std::string DidYouMean(absl::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

}  // namespace token_sampler
