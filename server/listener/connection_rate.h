// How fast the peers of a group may connect anew.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_RATE_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_RATE_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace token_sampler {

// A bucket of tokens for each group of peers (Peer::group). Not thread-safe.
class ConnectionRate {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // So many connections in a second, at least 1, and after a rest `burst` at once, at least 1.
  ConnectionRate(uint64_t per_second, uint64_t burst);

  // Counts a connection. False when it comes too early; then it does not count.
  bool Take(const std::string& group, Time now);

  // Groups that are remembered: those that may not connect `burst` times at once, and some more.
  size_t groups() const { return full_at_.size(); }

 private:
  void Forget(Time now);

  const std::chrono::nanoseconds interval_;  // between two connections of the rate
  const std::chrono::nanoseconds depth_;     // `burst` of them
  // When the bucket of a group is full again; one that is not here is full.
  absl::flat_hash_map<std::string, Time> full_at_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_RATE_H_
