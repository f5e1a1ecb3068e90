// The textual addresses that a server is told to listen on.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_ADDRESS_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_ADDRESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace token_sampler {

struct ListenAddress {
  std::string path;  // of a Unix socket; empty for TCP
  std::string host;  // a name or a number, without the brackets of IPv6
  uint16_t port = 0;
};

// Parses "host:port", "[v6]:port", "unix:path" or "unix:///path". InvalidArgument names the
// address.
absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address);

// The address, with the bound port in place of port 0.
std::string BoundAddress(const std::string& address, int port);

// Writes one address per line, by rename, so that a reader sees the whole file or none. A file that
// is there already must be a regular file.
absl::Status WriteAddressFile(const std::string& path, const std::vector<std::string>& addresses);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_ADDRESS_H_
