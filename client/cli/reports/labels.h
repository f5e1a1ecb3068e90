// Reads files that name tokens and rows.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_REPORTS_LABELS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_REPORTS_LABELS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace token_sampler::client {

// Reads a vocabulary: line i is the word of token i. InvalidArgument unless there are `vocab`
// lines.
absl::StatusOr<std::vector<std::string>> ReadVocabulary(const std::string& path, int64_t vocab);

// Reads the text that precedes each row, by row: the columns `row` and `context` of a tab-separated
// file whose first line names its columns.
absl::StatusOr<std::map<int64_t, std::string>> ReadContexts(const std::string& path);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_REPORTS_LABELS_H_
