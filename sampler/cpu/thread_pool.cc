#include "sampler/cpu/thread_pool.h"

namespace token_sampler::cpu {

struct ThreadPool::Loop {
  absl::FunctionRef<void(size_t)> body;
  size_t count;
  size_t next = 0;      // the first index that nobody took
  size_t finished = 0;  // bodies that returned
  Loop* following = nullptr;
  std::condition_variable all_finished{};
};

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
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
  std::unique_lock<std::mutex> lock(mutex_);
  loop.following = loops_;
  loops_ = &loop;
  for (size_t i = 1; i < count && i <= workers_.size(); ++i) work_added_.notify_one();
  RunIndices(loop, lock);
  loop.all_finished.wait(lock, [&loop] { return loop.finished == loop.count; });
}

void ThreadPool::RunIndices(Loop& loop, std::unique_lock<std::mutex>& lock) {
  while (loop.next < loop.count) {
    const size_t index = loop.next++;
    if (loop.next == loop.count) {
      Loop** link = &loops_;
      while (*link != &loop) link = &(*link)->following;
      *link = loop.following;
    }
    lock.unlock();
    loop.body(index);
    lock.lock();
    // The last one to finish must touch the loop no more after this: its caller may return.
    if (++loop.finished == loop.count) {
      loop.all_finished.notify_one();
      return;
    }
  }
}

void ThreadPool::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_added_.wait(lock, [this] { return stopping_ || loops_ != nullptr; });
    if (stopping_) return;
    RunIndices(*loops_, lock);
  }
}

}  // namespace token_sampler::cpu
