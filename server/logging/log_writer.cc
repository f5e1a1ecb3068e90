#include "server/logging/log_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace token_sampler {
namespace {

// Writes a line. Gives up if it cannot be written, for example to a pipe without a reader.
void WriteAll(int fd, const std::string& line) {
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = write(fd, line.data() + written, line.size() - written);
    if (count > 0) {
      written += static_cast<size_t>(count);
    } else if (count < 0 && errno == EAGAIN) {
      pollfd state = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&state, 1, -1);
    } else if (count == 0 || errno != EINTR) {
      return;
    }
  }
}

}  // namespace

LogWriter::LogWriter(int fd, size_t max_bytes)
    : fd_(fd), max_bytes_(max_bytes), thread_([this] { Run(); }) {}

LogWriter::~LogWriter() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

bool LogWriter::Write(std::string line) {
  MutexLock lock(mutex_);
  if (bytes_ + line.size() > max_bytes_) return false;
  bytes_ += line.size();
  lines_.push_back(std::move(line));
  changed_.NotifyAll();
  return true;
}

void LogWriter::Flush(TimePoint deadline) {
  MutexLock lock(mutex_);
  while (bytes_ > 0 && changed_.WaitUntil(mutex_, deadline)) {
  }
}

void LogWriter::Run() {
  std::string line;
  for (;;) {
    {
      MutexLock lock(mutex_);
      bytes_ -= line.size();
      if (bytes_ == 0) changed_.NotifyAll();
      while (lines_.empty() && !stopping_) changed_.Wait(mutex_);
      if (lines_.empty()) return;
      line = std::move(lines_.front());
      lines_.pop_front();
    }
    WriteAll(fd_, line);
  }
}

}  // namespace token_sampler
