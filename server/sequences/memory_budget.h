// How much memory the sequences of all streams may hold together, and who holds how much.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_MEMORY_BUDGET_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_MEMORY_BUDGET_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace token_sampler {

// Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit) : limit_(limit) {}

  // ResourceExhausted, and nothing is taken, when more than the limit would be held.
  absl::Status Take(uint64_t bytes);
  void Give(uint64_t bytes) { used_ -= bytes; }

  uint64_t used() const { return used_; }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
};

// What one object holds of a budget, which must outlive it. Given back when it goes.
class MemoryShare {
 public:
  explicit MemoryShare(MemoryBudget& budget) : budget_(budget) {}
  ~MemoryShare() { budget_.Give(bytes_); }
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;

  // As MemoryBudget::Take.
  absl::Status Grow(uint64_t bytes);

 private:
  MemoryBudget& budget_;
  uint64_t bytes_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_MEMORY_BUDGET_H_
