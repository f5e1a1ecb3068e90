#include "client/cli/flags/input_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ios>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace token_sampler::client {

absl::StatusOr<std::ifstream> OpenFile(const std::string& path, absl::string_view expected) {
  std::ifstream file(path, std::ios::binary);
  int error = file ? 0 : errno;
  std::error_code unknown;
  if (std::filesystem::is_directory(path, unknown)) error = EISDIR;
  if (error == 0) return file;
  return absl::NotFoundError(
      absl::StrCat(path, ": cannot be opened: ", std::strerror(error), "; expected ", expected));
}

std::string CannotBeRead() { return absl::StrCat("cannot be read: ", std::strerror(errno)); }

}  // namespace token_sampler::client
