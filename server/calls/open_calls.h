// Counts the calls and streams that the server has accepted and not yet answered, so that it can
// stop after the last answer.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_OPEN_CALLS_H_
#define TOKEN_SAMPLER_SERVER_CALLS_OPEN_CALLS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// A stream that the server ends when it stops.
class OpenStream {
 public:
  virtual ~OpenStream() = default;

  // Ends the stream with OpenCalls::Refusal: at once if it waits for a request, otherwise after the
  // answer.
  virtual void End() = 0;
};

// Thread-safe.
class OpenCalls {
 public:
  // The status with which a call after Close is refused: Unavailable.
  static absl::Status Refusal();

  // Counts a call, for which Leave must be called when gRPC is done with it. False after Close:
  // refuse the call.
  bool Enter();

  // The same for a stream. Close ends it.
  bool Enter(const std::shared_ptr<OpenStream>& stream);

  void Leave();

  // Accepts no more calls, and ends the streams.
  void Close();

  // Waits until Leave was called for every call, or the deadline has passed. Call it after Close.
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
