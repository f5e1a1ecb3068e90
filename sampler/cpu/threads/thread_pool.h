// Threads that share loops. The calling thread works too, so a pool of one thread starts none.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_THREADS_THREAD_POOL_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_THREADS_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace token_sampler::cpu {

// Thread-safe, and loops may nest: a body may itself run a loop on the pool.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls body(0) .. body(count - 1), in any order and on any threads, and returns after all have
  // returned. What the bodies wrote is visible to the caller.
  void ForEach(size_t count, absl::FunctionRef<void(size_t)> body);

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

 private:
  // One call of ForEach, on the stack of its caller. It is in the list while it has indices to hand
  // out.
  struct Loop;

  void Work();

  // Removes the loop from the list if it is in it. Call it under mutex_.
  void Unlink(const Loop& loop);

  std::mutex mutex_;
  std::condition_variable work_added_;
  Loop* loops_ = nullptr;              // guarded by mutex_
  std::atomic<uint64_t> changes_ = 0;  // of loops_ and stopping_; for threads that wait without
                                       // mutex_
  bool stopping_ = false;              // guarded by mutex_
  std::vector<std::thread> workers_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_THREAD_POOL_H_
