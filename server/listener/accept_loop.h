// Accepts connections within bounds and knows which are open.
//
// A listener must not stay deaf after an accept fails because descriptors or memory ran out: the
// loop waits a little and goes on. It keeps a second descriptor of each connection, which tells it
// when the connection ends and lets it end the connection.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_ACCEPT_LOOP_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_ACCEPT_LOOP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"
#include "server/listener/connection_rate.h"
#include "server/listener/connection_table.h"
#include "server/listener/descriptors.h"

namespace token_sampler {

class AcceptLoop;

// The loop calls these on its thread. They must not block.
struct AcceptEvents {
  // Takes an accepted, non-blocking connection and the group of its peer.
  std::function<void(AcceptLoop& loop, Descriptor connection, const std::string& group)>
      accepted;  // non-blocking
  // The connection with the number `connection` is over. `watched` is another, still open
  // descriptor of it.
  std::function<void(int connection, int watched)> ended;
  // Looks at each connection every `between_looks`. Returns why it must be closed now, or "". Null:
  // nobody looks. Arguments as above.
  std::function<std::string(int connection, int watched)> look = nullptr;
  std::chrono::milliseconds between_looks{5000};
  std::function<void(const std::string& message)> warn;          // at most once a second
  std::function<void(const std::string& reason)> listener_died;  // nothing is accepted any more
};

// A peer is a Peer::group.
struct AcceptLimits {
  uint64_t max_connections = 8192;  // at once
  uint64_t max_per_peer = 4096;     // of one peer, at a time
  // New connections of one peer per second. After a rest, the larger of this and `max_per_peer` may
  // come at once.
  uint64_t max_rate = 100;
};

struct AcceptCounters {
  uint64_t accepted = 0;
  uint64_t refused = 0;  // closed at once: beyond a bound, or without a descriptor
  uint64_t open = 0;
};

// Thread-safe.
class AcceptLoop {
 public:
  // Starts to accept from `listeners` on a thread of its own. Closes connections beyond the limits
  // as they come: the newest has the least to lose. Warns at most once a second, about what
  // happened last.
  AcceptLoop(std::vector<Descriptor> listeners, const AcceptLimits& limits, AcceptEvents events);

  // Closes the listeners and forgets the connections, which stay open.
  ~AcceptLoop();

  // Stops accepting. The listeners are closed when this returns.
  void StopAccepting();

  // Ends the connection that gRPC calls `name`. False when there is none.
  bool Close(absl::string_view name);

  // True while the connection that gRPC calls `name` is open.
  bool IsConnected(absl::string_view name) const;

  // Refuses connections of peers of the group until `until`. Open connections stay.
  void Shun(const std::string& group, TimePoint until);

  // Waits until every connection has ended or the deadline has passed. True when none is open.
  bool AwaitNone(TimePoint deadline);

  AcceptCounters counters() const;

 private:
  void Run();
  void Accept(int listener);
  // False when there is nothing more to accept now.
  bool AcceptOne(int listener);
  void Admit(Descriptor connection);
  // Accepts and closes one connection with the spare descriptor. False when that fails too.
  bool RefuseWithoutDescriptor(int listener);
  bool IsShunned(const std::string& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountRefusal(const std::string& why);
  void ForgetIfEnded(int watched);
  // Returns how long the next look may wait, in milliseconds; -1 when nobody looks.
  int LookWhenDue();
  void Look(int watched);
  // Stops watching the listeners until the next turn of the loop.
  void Pause();
  void EndListener(int listener, int error);

  // Descriptor of an accepted connection, -1 with errno, or -2 when there is no such listener.
  int AcceptFrom(int listener);
  void Watch(int fd, uint32_t events);

  const AcceptEvents events_;
  ConnectionRate rate_;
  Descriptor epoll_;
  Descriptor wake_;
  Descriptor spare_;     // closed to accept and refuse a connection when none is left
  bool paused_ = false;  // the listeners are not watched for a while
  uint64_t refused_unwarned_ = 0;
  std::chrono::steady_clock::time_point next_warning_;
  std::chrono::steady_clock::time_point next_look_;

  mutable Mutex mutex_;
  CondVar none_left_;
  std::vector<Descriptor> listeners_ ABSL_GUARDED_BY(mutex_);
  ConnectionTable table_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, TimePoint> shunned_ ABSL_GUARDED_BY(mutex_);
  AcceptCounters counters_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_ACCEPT_LOOP_H_
