// Knows who is connected, and bounds the connections in all and of one peer.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_TABLE_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

// The other end of a connection.
struct Peer {
  // The name of what counts as one peer: an IPv4 address, a /64 network of IPv6, or a user of a
  // Unix socket.
  std::string group;
  // The connection itself, as gRPC names it: "ipv4:1.2.3.4:5", "unix:1000/17" (PeerName).
  std::string name;

  // The peer of a connected socket. Its group is empty when the peer has gone.
  static Peer Of(int fd);

  int connection = -1;  // the descriptor's number when it was accepted
};

// Not thread-safe.
class ConnectionTable {
 public:
  enum class Refusal { kNone, kTooMany, kTooManyOfPeer };

  ConnectionTable(uint64_t max_connections, uint64_t max_per_peer)
      : max_connections_(max_connections), max_per_peer_(max_per_peer) {}

  // Returns the bound that one more connection of the group would break.
  Refusal Check(absl::string_view group) const;

  // Adds a connection. `fd` is its key, which no other connection may have.
  void Add(int fd, const Peer& peer);
  void Remove(int fd);

  // The key of the connection that gRPC calls `name`, or -1.
  int Find(absl::string_view name) const;

  // Peer::connection of the connection with this key, or -1.
  int NumberOf(int fd) const;

  // The group of its peer, or "".
  std::string GroupOf(int fd) const;

  // The keys of all connections.
  std::vector<int> All() const;

  uint64_t size() const { return connections_.size(); }

 private:
  const uint64_t max_connections_;
  const uint64_t max_per_peer_;
  absl::flat_hash_map<int, Peer> connections_;
  absl::flat_hash_map<std::string, uint64_t> counts_;  // by group
  absl::flat_hash_map<std::string, int> by_name_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_TABLE_H_
