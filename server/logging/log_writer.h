// Writes lines of text to a descriptor that may be slow, full or closed, without making callers
// wait.

#ifndef TOKEN_SAMPLER_SERVER_LOGGING_LOG_WRITER_H_
#define TOKEN_SAMPLER_SERVER_LOGGING_LOG_WRITER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>

#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// Thread-safe.
class LogWriter {
 public:
  // Keeps at most `max_bytes` of lines that are not written yet.
  LogWriter(int fd, size_t max_bytes);

  // Waits until all lines are written. Do not delete a writer whose descriptor may block for ever.
  ~LogWriter();

  // Queues the line to be written soon. False if there is no room: the line is dropped.
  bool Write(std::string line);

  // Waits until all lines are written or the deadline has passed.
  void Flush(TimePoint deadline);

 private:
  void Run();

  const int fd_;
  const size_t max_bytes_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of lines_ and the line that is being written
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LOGGING_LOG_WRITER_H_
