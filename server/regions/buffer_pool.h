// Buffers that are used again, because fresh pages cost as much as the copy into them.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_BUFFER_POOL_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_BUFFER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/batching/mutex.h"

namespace token_sampler {

// Thread-safe. Keeps what is given back up to a number of bytes and frees the rest.
class BufferPool {
 public:
  explicit BufferPool(uint64_t max_idle_bytes) : max_idle_bytes_(max_idle_bytes) {}

  // Uninitialised bytes, given back when the last copy of the pointer goes. The pool must outlive
  // it. Null when there is no memory.
  std::shared_ptr<char> Take(size_t bytes);

  uint64_t idle_bytes() const;

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };

  void GiveBack(Block block);

  const uint64_t max_idle_bytes_;
  mutable Mutex mutex_;
  std::vector<Block> idle_ ABSL_GUARDED_BY(mutex_);
  uint64_t idle_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_BUFFER_POOL_H_
