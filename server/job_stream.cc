#include "server/job_stream.h"

namespace token_sampler {

bool StreamSet::Add(const std::shared_ptr<OpenStream>& stream) {
  MutexLock lock(mutex_);
  streams_.erase(std::remove_if(streams_.begin(), streams_.end(),
                                [](const auto& known) { return known.expired(); }),
                 streams_.end());
  streams_.push_back(stream);
  return !ended_;
}

void StreamSet::EndAll() {
  std::vector<std::weak_ptr<OpenStream>> streams;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    streams.swap(streams_);
  }
  for (const std::weak_ptr<OpenStream>& known : streams) {
    if (const std::shared_ptr<OpenStream> stream = known.lock()) stream->End();
  }
}

}  // namespace token_sampler
