#include "server/listener/ipv6_network.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace token_sampler {

std::string Ipv6Network(const in6_addr& address) {
  in6_addr network = address;
  std::memset(&network.s6_addr[8], 0, 8);
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, &network, text, sizeof(text));
  return absl::StrCat(text, "/64");
}

}  // namespace token_sampler
