// What the server does about an address before it listens there and after it has.

#ifndef TOKEN_SAMPLER_SERVER_LISTEN_ADDRESS_H_
#define TOKEN_SAMPLER_SERVER_LISTEN_ADDRESS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace token_sampler {

// Removes a Unix socket that nobody listens on any more. AlreadyExists when somebody does, or when
// the path is something else than a socket. Does nothing for other addresses.
absl::Status ClearStaleSocket(const std::string& address);

// The address with the port that was bound in place of port 0.
std::string BoundAddress(const std::string& address, int port);

// Writes one address per line so that a reader sees the whole file or none (by rename).
absl::Status WriteAddressFile(const std::string& path, const std::vector<std::string>& addresses);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTEN_ADDRESS_H_
