// The flags of what a row brings along besides its values: history, state, mask.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_ROW_FLAGS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_ROW_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct HistoryFlags {
  History history;    // of every row
  bool none = false;  // there is none yet, and the request says so
  bool skip_unknown_ids = false;

  // The history to send; none when no flag mentions one.
  std::optional<History> Get() const;
};

// What a flag sets must outlive the parsing.
void AddHistoryFlags(CLI::App& app, HistoryFlags& flags);
void AddStateFlag(CLI::App& app, RowState& state);
void AddBitmaskFlag(CLI::App& app, std::string& path);

// "mirostat_mu=9.5,top_p=0.8", as --state takes it: to the last bit. Empty for an empty state.
std::string StateText(const RowState& state);

// The masks of `count` of a file's rows from row `first` on, of the `rows` that the logits have.
// The mask file has int32 words: [ceil(vocab / 32)] for every row, or [rows, ceil(vocab / 32)].
absl::StatusOr<std::string> ReadBitmask(const std::string& path, int64_t vocab, int64_t rows,
                                        int64_t first, int64_t count);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_ROW_FLAGS_H_
