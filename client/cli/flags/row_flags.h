// The flags for what a row has besides its values: history, state, mask.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_FLAGS_ROW_FLAGS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_FLAGS_ROW_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct HistoryFlags {
  History history;    // of every row
  bool none = false;  // the request states that there is none yet
  bool skip_unknown_ids = false;

  // The history to send; none when no flag mentions one.
  std::optional<History> Get() const;
};

// The parsing writes to the targets of the flags, so they must outlive it.
void AddHistoryFlags(CLI::App& app, HistoryFlags& flags);
void AddStateFlag(CLI::App& app, RowState& state);
void AddBitmaskFlag(CLI::App& app, std::string& path);

// The state as --state takes it, exact to the last bit: "mirostat_mu=9.5,top_p=0.8". Empty for an
// empty state.
std::string StateText(const RowState& state);

// Reads the masks of `count` rows from row `first` on, where the file of logits has `rows` rows.
// The mask file has int32 words: [ceil(vocab / 32)] for every row, or [rows, ceil(vocab / 32)].
// InvalidArgument for another shape.
absl::StatusOr<std::string> ReadBitmask(const std::string& path, int64_t vocab, int64_t rows,
                                        int64_t first, int64_t count);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_FLAGS_ROW_FLAGS_H_
