// Accepts connections within bounds and knows which are open.
//
// A listener that fails at an accept because descriptors or memory ran out must not stay deaf: this
// one waits a little and goes on. Of each connection it keeps a second descriptor, which tells it
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

// The loop calls these on its thread; they must not wait.
struct AcceptEvents {
  // A connection, non-blocking, and the group of its peer.
  std::function<void(AcceptLoop& loop, Descriptor connection, const std::string& group)>
      accepted;  // non-blocking
  // The connection that had this number is over; `watched` is still a descriptor of it.
  std::function<void(int connection, int watched)> ended;
  // Looks at each connection, as above, at such intervals. Empty, or why it must be closed now.
  // Null: nobody looks.
  std::function<std::string(int connection, int watched)> look = nullptr;
  std::chrono::milliseconds between_looks{5000};
  std::function<void(const std::string& message)> warn;          // seldom: see below
  std::function<void(const std::string& reason)> listener_died;  // it accepts nothing any more
};

// A peer is a Peer::group.
struct AcceptLimits {
  uint64_t max_connections = 8192;  // at once
  uint64_t max_per_peer = 4096;     // of them, of one peer
  // New ones of one peer in a second. After a rest as many may come at once, or `max_per_peer`.
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
  // Accepts from `listeners` at once. What comes beyond the limits is closed: of all connections
  // the newest has the least to lose. Warns at most once a second, and then of what happened last.
  AcceptLoop(std::vector<Descriptor> listeners, const AcceptLimits& limits, AcceptEvents events);

  // Closes the listeners and forgets the connections, which stay open.
  ~AcceptLoop();

  // Accepts nothing any more. The listeners are closed when this returns.
  void StopAccepting();

  // Ends the connection that gRPC names so. False when there is none.
  bool Close(absl::string_view name);

  // True when a connection that gRPC names so is open.
  bool IsConnected(absl::string_view name) const;

  // Refuses connections of the peers of a group until then. Those that are open stay.
  void Shun(const std::string& group, TimePoint until);

  // Waits until every connection has ended or the deadline has passed. True when none is open.
  bool AwaitNone(TimePoint deadline);

  AcceptCounters counters() const;

 private:
  void Run();
  void Accept(int listener);
  // False when nothing more is to be had now.
  bool AcceptOne(int listener);
  void Admit(Descriptor connection);
  // Refuses one connection by means of the spare descriptor. False when that cannot be either.
  bool RefuseWithoutDescriptor(int listener);
  bool IsShunned(const std::string& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountRefusal(const std::string& why);
  void ForgetIfEnded(int watched);
  // Returns how long the next look may wait, in milliseconds; -1 when nobody looks.
  int LookWhenDue();
  void Look(int watched);
  // The listeners are not watched until the next turn of the loop.
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
  bool paused_ = false;  // listeners are not watched for a while
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
