#include "sampler/cpu/threads/thread_pool.h"

#include <chrono>

#include "hwy/cache_control.h"

namespace token_sampler::cpu {
namespace {

// The time it takes to wake a thread on a virtual machine. A thread that spins this long before it
// sleeps spends at most twice the time that it would if it knew the length of the wait.
constexpr std::chrono::microseconds kSpin(50);

template <typename Done>
void SpinUntil(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  while (!done() && std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 16; ++i) hwy::Pause();
    std::this_thread::yield();  // to threads with work, if there are more threads than cores
  }
}

}  // namespace

struct ThreadPool::Loop {
  // Takes indices and runs the body until none is left.
  void Run() {
    for (size_t i = next.fetch_add(1, std::memory_order_relaxed); i < count;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      body(i);
    }
  }

  absl::FunctionRef<void(size_t)> body;
  size_t count;
  std::atomic<size_t> next = 0;     // the first index that no thread took
  std::atomic<size_t> helpers = 0;  // workers in Run; changed only under mutex_
  Loop* following = nullptr;        // guarded by mutex_
  std::condition_variable helpers_left{};
};

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    ++changes_;
  }
  work_added_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ForEach(size_t count, absl::FunctionRef<void(size_t)> body) {
  if (workers_.empty() || count <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  Loop loop{.body = body, .count = count};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop.following = loops_;
    loops_ = &loop;
    ++changes_;
  }
  for (size_t i = 1; i < count && i <= workers_.size(); ++i) work_added_.notify_one();
  loop.Run();
  std::unique_lock<std::mutex> lock(mutex_);
  Unlink(loop);
  if (loop.helpers == 0) return;
  lock.unlock();
  SpinUntil([&loop] { return loop.helpers == 0; });
  lock.lock();
  loop.helpers_left.wait(lock, [&loop] { return loop.helpers == 0; });
}

void ThreadPool::Unlink(const Loop& loop) {
  for (Loop** link = &loops_; *link != nullptr; link = &(*link)->following) {
    if (*link == &loop) {
      *link = loop.following;
      return;
    }
  }
}

void ThreadPool::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (loops_ == nullptr) {
      const uint64_t seen = changes_;
      lock.unlock();
      SpinUntil([this, seen] { return changes_ != seen; });
      lock.lock();
    }
    work_added_.wait(lock, [this] { return stopping_ || loops_ != nullptr; });
    if (stopping_) return;
    Loop& loop = *loops_;
    ++loop.helpers;
    lock.unlock();
    loop.Run();
    lock.lock();
    Unlink(loop);
    // After this, the last helper must not touch the loop: its caller may return.
    if (--loop.helpers == 0) loop.helpers_left.notify_one();
  }
}

}  // namespace token_sampler::cpu
