// Files that the user names.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_FLAGS_INPUT_FILE_H_
#define TOKEN_SAMPLER_CLIENT_CLI_FLAGS_INPUT_FILE_H_

#include <fstream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace token_sampler::client {

// Opens a file. NotFound when it cannot be opened or is a directory: the message has the path, the
// system's reason and what was `expected` there.
absl::StatusOr<std::ifstream> OpenFile(const std::string& path, absl::string_view expected);

// "cannot be read: " and the system's reason. Call it right after reading has failed.
std::string CannotBeRead();

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_FLAGS_INPUT_FILE_H_
