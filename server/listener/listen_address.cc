#include "server/listener/listen_address.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace token_sampler {
namespace {

constexpr absl::string_view kUnix = "unix:";

absl::StatusOr<ListenAddress> ParseUnix(const std::string& address) {
  absl::string_view path = absl::StripPrefix(address, kUnix);
  if (absl::StartsWith(path, "//")) path.remove_prefix(2);
  constexpr size_t kMax = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() > kMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen ", address, ": the path must have at most ", kMax, " bytes, has ", path.size()));
  }
  return ListenAddress{.path = std::string(path), .host = "", .port = 0};
}

}  // namespace

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address) {
  if (absl::StartsWith(address, kUnix) && address.size() > kUnix.size()) return ParseUnix(address);
  const size_t colon = address.rfind(':');
  absl::string_view host = absl::string_view(address).substr(0, colon);
  const bool bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (colon == std::string::npos || colon + 1 == address.size() || host.empty() ||
      (!bracketed && host.find(':') != absl::string_view::npos)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen must be host:port, [IPv6]:port or unix:/path, got \"", address, "\""));
  }
  const absl::string_view digits = absl::string_view(address).substr(colon + 1);
  uint32_t port = 0;
  if (digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &port) || port > std::numeric_limits<uint16_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen ", address, ": the port must be in [0, 65535], got \"", digits, "\""));
  }
  return ListenAddress{.path = "", .host = std::string(host), .port = static_cast<uint16_t>(port)};
}

std::string BoundAddress(const std::string& address, int port) {
  if (absl::StartsWith(address, kUnix) || !absl::EndsWith(address, ":0")) return address;
  return absl::StrCat(absl::StripSuffix(address, "0"), port);
}

absl::Status WriteAddressFile(const std::string& path, const std::vector<std::string>& addresses) {
  struct stat there;
  if (lstat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--address-file: ", path, " exists and is not a regular file"));
  }
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
