#include "server/listener/connection_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/listener/ipv6_network.h"
#include "server/listener/peer_name.h"

namespace token_sampler {
namespace {

Peer OfIpv4(const in_addr& address, in_port_t port) {
  char text[INET_ADDRSTRLEN];
  if (inet_ntop(AF_INET, &address, text, sizeof(text)) == nullptr) return {};
  return {.group = text, .name = absl::StrCat("ipv4:", text, ":", ntohs(port)), .connection = -1};
}

Peer OfIpv6(const sockaddr_in6& address) {
  if (IN6_IS_ADDR_V4MAPPED(&address.sin6_addr)) {
    in_addr mapped;
    std::memcpy(&mapped, &address.sin6_addr.s6_addr[12], sizeof(mapped));
    return OfIpv4(mapped, address.sin6_port);
  }
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text)) == nullptr) return {};
  std::string name = absl::StrCat("ipv6:[", text, "]:", ntohs(address.sin6_port));
  return {.group = Ipv6Network(address.sin6_addr), .name = std::move(name), .connection = -1};
}

}  // namespace

Peer Peer::Of(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (PeerName(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  switch (address.ss_family) {
    case AF_INET: {
      const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
      return OfIpv4(ipv4.sin_addr, ipv4.sin_port);
    }
    case AF_INET6:
      return OfIpv6(reinterpret_cast<const sockaddr_in6&>(address));
    case AF_UNIX: {
      const absl::string_view path = reinterpret_cast<const sockaddr_un&>(address).sun_path;
      return {.group = absl::StrCat("user ", path.substr(0, path.find('/'))),
              .name = absl::StrCat("unix:", path),
              .connection = -1};
    }
    default:
      return {};
  }
}

ConnectionTable::Refusal ConnectionTable::Check(absl::string_view group) const {
  if (connections_.size() >= max_connections_) return Refusal::kTooMany;
  const auto found = counts_.find(group);
  const bool full = found != counts_.end() && found->second >= max_per_peer_;
  return full ? Refusal::kTooManyOfPeer : Refusal::kNone;
}

void ConnectionTable::Add(int fd, const Peer& peer) {
  ++counts_[peer.group];
  by_name_[peer.name] = fd;
  connections_.emplace(fd, peer);
}

void ConnectionTable::Remove(int fd) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  const Peer& peer = found->second;
  if (const auto count = counts_.find(peer.group); --count->second == 0) counts_.erase(count);
  // The port, and so the name, may be another connection's by now.
  const auto name = by_name_.find(peer.name);
  if (name != by_name_.end() && name->second == fd) by_name_.erase(name);
  connections_.erase(found);
}

int ConnectionTable::Find(absl::string_view name) const {
  // gRPC escapes the brackets of IPv6.
  const auto found =
      by_name_.find(absl::StrReplaceAll(name, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}}));
  return found == by_name_.end() ? -1 : found->second;
}

int ConnectionTable::NumberOf(int fd) const {
  const auto found = connections_.find(fd);
  return found == connections_.end() ? -1 : found->second.connection;
}

std::string ConnectionTable::GroupOf(int fd) const {
  const auto found = connections_.find(fd);
  return found == connections_.end() ? "" : found->second.group;
}

std::vector<int> ConnectionTable::All() const {
  std::vector<int> all;
  all.reserve(connections_.size());
  for (const auto& [fd, peer] : connections_) all.push_back(fd);
  return all;
}

}  // namespace token_sampler
