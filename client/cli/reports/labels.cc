#include "client/cli/reports/labels.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/flags/input_file.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path,
                                                   absl::string_view expected) {
  ASSIGN_OR_RETURN(std::ifstream file, OpenFile(path, expected));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(std::move(line));
  if (file.bad()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", CannotBeRead()));
  return lines;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadVocabulary(const std::string& path, int64_t vocab) {
  absl::StatusOr<std::vector<std::string>> words =
      ReadLines(path, "the words of the tokens, one per line");
  if (words.ok() && static_cast<int64_t>(words->size()) != vocab) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": must have one line per token, ", vocab, ", got ", words->size()));
  }
  return words;
}

absl::StatusOr<std::map<int64_t, std::string>> ReadContexts(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<std::string> lines,
                   ReadLines(path, "a tab-separated file with the columns row and context"));
  const std::vector<std::string> titles = absl::StrSplit(lines.empty() ? "" : lines.front(), '\t');
  const auto column = [&titles](absl::string_view title) {
    return static_cast<size_t>(std::find(titles.begin(), titles.end(), title) - titles.begin());
  };
  const size_t row_column = column("row");
  const size_t context_column = column("context");
  if (row_column == titles.size() || context_column == titles.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": its first line must name the columns row and context"));
  }
  std::map<int64_t, std::string> contexts;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = absl::StrSplit(lines[i], '\t');
    int64_t row = 0;
    if (cells.size() != titles.size() || !absl::SimpleAtoi(cells[row_column], &row)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", i + 1, ": must have ",
                                                     titles.size(), " columns and a row number"));
    }
    contexts[row] = cells[context_column];
  }
  return contexts;
}

}  // namespace token_sampler::client
