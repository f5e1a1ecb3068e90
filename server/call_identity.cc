#include "server/call_identity.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "server/listener/ipv6_network.h"

namespace token_sampler {
namespace {

// "ipv6:[2001:db8::1]", of which gRPC may have escaped the brackets, with or without a zone behind
// a %: the 64 bits in front, and what is no address as it is.
std::string Site(absl::string_view host) {
  std::string address = absl::StrReplaceAll(absl::StripPrefix(host, "ipv6:"),
                                            {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}});
  address.resize(std::min(address.size(), address.find('%')));
  in6_addr bits;
  if (inet_pton(AF_INET6, address.c_str(), &bits) != 1 || IN6_IS_ADDR_V4MAPPED(&bits)) {
    return std::string(host);
  }
  return "ipv6:" + Ipv6Network(bits);
}

}  // namespace

CallIdentity IdentityOfPeer(absl::string_view peer) {
  CallIdentity identity = {.client = std::string(peer), .connection = std::string(peer)};
  const bool ipv6 = absl::StartsWith(peer, "ipv6:");
  if (!ipv6 && !absl::StartsWith(peer, "ipv4:")) return identity;
  const absl::string_view host = peer.substr(0, peer.rfind(':'));
  identity.client = ipv6 ? Site(host) : std::string(host);
  return identity;
}

}  // namespace token_sampler
