#include "server/calls/call_identity.h"

#include <arpa/inet.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "server/listener/ipv6_network.h"

namespace token_sampler {
namespace {

constexpr absl::string_view kUnix = "unix:";

// Returns the network of 64 bits, "ipv6:2001:db8::/64", of "ipv6:[2001:db8::1]", whose brackets
// gRPC may have escaped and which may have a zone after a %. Returns anything else as it is.
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

CallIdentity IdentityOfPeer(std::string peer) {
  absl::string_view client = peer;
  if (absl::StartsWith(peer, kUnix)) client = client.substr(0, client.find('/'));
  const bool ipv6 = absl::StartsWith(peer, "ipv6:");
  if (ipv6 || absl::StartsWith(peer, "ipv4:")) client = client.substr(0, client.rfind(':'));
  std::string name = ipv6 ? Site(client) : std::string(client);
  return {.client = std::move(name), .connection = std::move(peer)};
}

absl::StatusOr<std::string> ParseClientName(absl::string_view name) {
  const absl::string_view address = absl::StripSuffix(name, "/64");
  in_addr ipv4;
  uint32_t user = 0;
  if (absl::ConsumePrefix(&name, "ipv4:")) {
    const std::string host(name);
    if (inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return "ipv4:" + host;
  } else if (absl::StartsWith(address, "ipv6:")) {
    std::string site = Site(address);
    if (absl::EndsWith(site, "/64")) return site;
  } else if (absl::ConsumePrefix(&name, kUnix) && absl::SimpleAtoi(name, &user)) {
    return absl::StrCat(kUnix, user);
  }
  return absl::InvalidArgumentError(
      "a client must be ipv4:ADDRESS, ipv6:ADDRESS, which means its network of 64 bits, or "
      "unix:UID, a user's number");
}

Caller::Caller(const grpc::CallbackServerContext& context)
    : identity(IdentityOfPeer(context.peer())) {
  const auto [first, last] = context.client_metadata().equal_range(kPriorityMetadata);
  if (first == last) return;
  const absl::string_view value(first->second.data(), first->second.size());
  if (std::next(first) != last) {
    status = absl::InvalidArgumentError(
        absl::StrCat("metadata ", kPriorityMetadata, " must be given once"));
  } else if (!absl::SimpleAtoi(value, &identity.priority) || identity.priority > kHighestPriority) {
    identity.priority = 0;
    status = absl::InvalidArgumentError(
        absl::StrCat("metadata ", kPriorityMetadata, " must be a whole number in [0, ",
                     kHighestPriority, "], got \"", absl::CHexEscape(value.substr(0, 32)), "\""));
  }
}

}  // namespace token_sampler
