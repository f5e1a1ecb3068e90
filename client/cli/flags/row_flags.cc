#include "client/cli/flags/row_flags.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/flags/flags.h"
#include "client/cli/flags/npy.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

constexpr char kHistory[] = "History and state, of every row";

struct StateField {
  absl::string_view name;
  std::optional<double> RowState::*value;
};

constexpr std::array kStateFields = {
    StateField{"mirostat_mu", &RowState::mirostat_mu},
    StateField{"adaptive_p_sum", &RowState::adaptive_p_sum},
    StateField{"adaptive_p_weight", &RowState::adaptive_p_weight},
    StateField{"top_p", &RowState::top_p},
};

bool ParseStateField(absl::string_view entry, RowState& state) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(entry, '=');
  double value = 0.0;
  if (!absl::SimpleAtod(parts.second, &value)) return false;
  for (const StateField& field : kStateFields) {
    if (field.name != parts.first) continue;
    state.*field.value = value;
    return true;
  }
  return false;
}

bool ParseCount(absl::string_view entry, TokenCount& count) {
  const std::vector<absl::string_view> parts = absl::StrSplit(entry, ':');
  return parts.size() == 2 && absl::SimpleAtoi(parts[0], &count.token_id) &&
         absl::SimpleAtoi(parts[1], &count.count);
}

// The shortest decimal that is this double.
std::string Shortest(double value) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return std::string(text.data(), end);
}

}  // namespace

std::optional<History> HistoryFlags::Get() const {
  return none || !history.empty() ? std::make_optional(history) : std::nullopt;
}

void AddHistoryFlags(CLI::App& app, HistoryFlags& flags) {
  History& history = flags.history;
  CLI::Option* none =
      app.add_flag("--no-history", flags.none,
                   "Send an empty history, for rules that need one at a --step above 0")
          ->group(kHistory);
  AddIdsFlag(app, "--prompt-ids", history.prompt_ids, "The prompt")->group(kHistory);
  AddIdsFlag(app, "--output-ids", history.output_ids, "The tokens generated so far")
      ->group(kHistory);
  AddIdsFlag(
      app, "--prompt-set", history.prompt_set,
      "The different tokens of the prompt, instead of --prompt-ids, if no rule needs their order")
      ->group(kHistory);
  app.add_option_function<std::string>(
         "--output-counts",
         [&history](const std::string& text) {
           for (const absl::string_view entry : absl::StrSplit(text, ',')) {
             if (ParseCount(entry, history.output_counts.emplace_back())) continue;
             throw CLI::ValidationError("--output-counts",
                                        absl::StrCat("must be ID:COUNT,ID:COUNT,..., got ", text));
           }
         },
         "How often each token was generated, instead of --output-ids")
      ->type_name("ID:COUNT,...")
      ->group(kHistory);
  for (const char* list : {"--prompt-ids", "--output-ids", "--prompt-set", "--output-counts"}) {
    none->excludes(app.get_option(list));
  }
  app.add_flag("--skip-unknown-ids", flags.skip_unknown_ids,
               "Accept ids at or above the vocabulary, such as placeholders of images; they match "
               "nothing")
      ->group(kHistory);
  app.parse_complete_callback([&flags] {
    if (!flags.skip_unknown_ids || flags.Get()) return;
    throw CLI::ValidationError("--skip-unknown-ids",
                               "needs --prompt-ids, --output-ids, --prompt-set or --output-counts");
  });
}

void AddStateFlag(CLI::App& app, RowState& state) {
  app.add_option_function<std::string>(
         "--state",
         [&state](const std::string& text) {
           for (const absl::string_view entry : absl::StrSplit(text, ',')) {
             if (ParseStateField(entry, state)) continue;
             throw CLI::ValidationError(
                 "--state", absl::StrCat("must be NAME=VALUE,... with names of mirostat_mu, "
                                         "adaptive_p_sum, adaptive_p_weight, top_p, got ",
                                         text));
           }
         },
         "State of mirostat, adaptive-p and top-p decay, as the previous step printed it")
      ->type_name("NAME=VALUE,...")
      ->group(kHistory);
}

void AddBitmaskFlag(CLI::App& app, std::string& path) {
  app.add_option("--bitmask", path,
                 "A grammar's mask: int32 words of 32 tokens each, 1 = allowed, [words] for every "
                 "row or [rows, words]")
      ->type_name("FILE.npy")
      ->group("Adjustments");
}

std::string StateText(const RowState& state) {
  std::string text;
  for (const StateField& field : kStateFields) {
    const std::optional<double>& value = state.*field.value;
    if (!value) continue;
    absl::StrAppend(&text, text.empty() ? "" : ",", field.name, "=", Shortest(*value));
  }
  return text;
}

absl::StatusOr<std::string> ReadBitmask(const std::string& path, int64_t vocab, int64_t rows,
                                        int64_t first, int64_t count) {
  ASSIGN_OR_RETURN(NpyWords words, ReadNpyWords(path));
  const int64_t wanted = (vocab + 31) / 32;
  if (words.columns != wanted || (words.rows != 1 && words.rows != rows)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": shape must be [", wanted, "] or [",
                                                   rows, ", ", wanted, "], got [", words.rows, ", ",
                                                   words.columns, "]"));
  }
  const size_t row_bytes = words.bytes.size() / static_cast<size_t>(words.rows);
  if (words.rows > 1 || rows == 1) {
    return words.bytes.substr(row_bytes * static_cast<size_t>(first),
                              row_bytes * static_cast<size_t>(count));
  }
  std::string repeated;
  for (int64_t row = 0; row < count; ++row) repeated += words.bytes;
  return repeated;
}

}  // namespace token_sampler::client
