// The calls and streams that the server has accepted and not yet answered, so that it can stop
// behind the last answer.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_OPEN_CALLS_H_
#define TOKEN_SAMPLER_SERVER_CALLS_OPEN_CALLS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// What the server ends when it stops.
class OpenStream {
 public:
  virtual ~OpenStream() = default;

  // Ends the stream with OpenCalls::Refusal: at once when it waits for a request, else behind the
  // answer.
  virtual void End() = 0;
};

// Thread-safe.
class OpenCalls {
 public:
  // What a call is told that comes after Close.
  static absl::Status Refusal();

  // Accepts a call, which must Leave when gRPC is done with it. False after Close: the call must be
  // refused.
  bool Enter();

  // The same for a stream, which Close ends.
  bool Enter(const std::shared_ptr<OpenStream>& stream);

  void Leave();

  // Accepts nothing any more, and ends the streams.
  void Close();

  // Waits until every call has left or the deadline has passed. Call it after Close.
  void AwaitNone(TimePoint deadline);

 private:
  bool EnterLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar none_left_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;  // streams included
  std::vector<std::weak_ptr<OpenStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_OPEN_CALLS_H_
