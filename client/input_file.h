// Files that the user names.

#ifndef TOKEN_SAMPLER_CLIENT_INPUT_FILE_H_
#define TOKEN_SAMPLER_CLIENT_INPUT_FILE_H_

#include <fstream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace token_sampler::client {

// NotFound, with the path, the system's reason and what was `expected` there, when the file cannot
// be opened or is a directory.
absl::StatusOr<std::ifstream> OpenFile(const std::string& path, absl::string_view expected);

// "cannot be read: " and the reason, right after reading went bad.
std::string CannotBeRead();

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_INPUT_FILE_H_
