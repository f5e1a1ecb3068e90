// Limits how fast the peers of a group may open connections.

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

  // Allows `per_second` connections a second and, after a rest, `burst` at once. Both are at least
  // 1.
  ConnectionRate(uint64_t per_second, uint64_t burst);

  // Counts a connection. False, without counting it, when it comes too early.
  bool Take(const std::string& group, Time now);

  // The number of remembered groups: those that may not connect `burst` times at once, and some
  // more.
  size_t groups() const { return full_at_.size(); }

 private:
  void Forget(Time now);

  const std::chrono::nanoseconds interval_;  // between two connections of the rate
  const std::chrono::nanoseconds depth_;     // `burst` intervals
  // When the bucket of a group is full again. A group that is missing has a full bucket.
  absl::flat_hash_map<std::string, Time> full_at_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_CONNECTION_RATE_H_
