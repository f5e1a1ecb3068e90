#include "server/calls/open_calls.h"

#include <algorithm>

namespace token_sampler {

absl::Status OpenCalls::Refusal() { return absl::UnavailableError("the server is shutting down"); }

bool OpenCalls::EnterLocked() {
  if (closed_) return false;
  ++calls_;
  return true;
}

bool OpenCalls::Enter() {
  MutexLock lock(mutex_);
  return EnterLocked();
}

bool OpenCalls::Enter(const std::shared_ptr<OpenStream>& stream) {
  MutexLock lock(mutex_);
  if (!EnterLocked()) return false;
  streams_.erase(std::remove_if(streams_.begin(), streams_.end(),
                                [](const auto& known) { return known.expired(); }),
                 streams_.end());
  streams_.push_back(stream);
  return true;
}

void OpenCalls::Leave() {
  MutexLock lock(mutex_);
  // Notify under the lock: a waiting thread may delete this object as soon as it holds the lock.
  if (--calls_ == 0) none_left_.NotifyAll();
}

void OpenCalls::Close() {
  std::vector<std::weak_ptr<OpenStream>> streams;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    streams.swap(streams_);
  }
  for (const std::weak_ptr<OpenStream>& known : streams) {
    if (const std::shared_ptr<OpenStream> stream = known.lock()) stream->End();
  }
}

void OpenCalls::AwaitNone(TimePoint deadline) {
  MutexLock lock(mutex_);
  while (calls_ > 0 && none_left_.WaitUntil(mutex_, deadline)) {
  }
}

}  // namespace token_sampler
