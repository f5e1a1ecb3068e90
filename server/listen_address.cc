#include "server/listen_address.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace token_sampler {
namespace {

// False only when the system says that nobody does: what cannot be tried is left alone.
bool MaySomebodyListen(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return true;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const bool refused = result != 0 && errno == ECONNREFUSED;
  close(fd);
  return !refused;
}

}  // namespace

absl::Status ClearStaleSocket(const std::string& address) {
  if (!absl::StartsWith(address, "unix:")) return absl::OkStatus();
  // gRPC takes unix:relative, unix:/absolute and unix:///absolute.
  std::string path = address.substr(std::strlen("unix:"));
  if (absl::StartsWith(path, "//")) path = path.substr(2);
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat("--listen ", address, ": ", path, " exists and is not a socket"));
  }
  if (MaySomebodyListen(path)) {
    return absl::AlreadyExistsError(
        absl::StrCat("--listen ", address, ": another server listens there"));
  }
  unlink(path.c_str());
  return absl::OkStatus();
}

std::string BoundAddress(const std::string& address, int port) {
  if (absl::StartsWith(address, "unix:") || !absl::EndsWith(address, ":0")) return address;
  return absl::StrCat(absl::StripSuffix(address, "0"), port);
}

absl::Status WriteAddressFile(const std::string& path, const std::vector<std::string>& addresses) {
  const std::string unfinished = absl::StrCat(path, ".", getpid());
  std::ofstream file(unfinished);
  file << absl::StrJoin(addresses, "\n") << "\n";
  file.close();
  if (!file || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(unfinished.c_str());
    return absl::InvalidArgumentError(
        absl::StrCat("--address-file: cannot write ", path, ": ", std::strerror(error)));
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
