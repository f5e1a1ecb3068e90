#include "server/regions/buffer_pool.h"

#include <algorithm>
#include <new>
#include <utility>

namespace token_sampler {

std::shared_ptr<char> BufferPool::Take(size_t bytes) {
  Block block;
  {
    const MutexLock lock(mutex_);
    // The smallest that is large enough, and not so large that it would be wasted.
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if (it->size < bytes || it->size / 2 > bytes) continue;
      if (best == idle_.end() || it->size < best->size) best = it;
    }
    if (best != idle_.end()) {
      block = std::move(*best);
      idle_.erase(best);
      idle_bytes_ -= block.size;
    }
  }
  if (block.bytes == nullptr) {
    block.size = std::max<size_t>(bytes, 1);
    block.bytes.reset(new (std::nothrow) char[block.size]);
    if (block.bytes == nullptr) return nullptr;
  }
  char* const first = block.bytes.get();
  auto owner = std::make_shared<Block>(std::move(block));
  return {first, [this, owner](char*) { GiveBack(std::move(*owner)); }};
}

void BufferPool::GiveBack(Block block) {
  const MutexLock lock(mutex_);
  if (block.size > max_idle_bytes_ - idle_bytes_) return;
  idle_bytes_ += block.size;
  idle_.push_back(std::move(block));
}

uint64_t BufferPool::idle_bytes() const {
  const MutexLock lock(mutex_);
  return idle_bytes_;
}

}  // namespace token_sampler
