#include "client/load/closed_loop.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace token_sampler::client {
namespace {

using SteadyClock = std::chrono::steady_clock;

absl::Duration Since(SteadyClock::time_point start) {
  return absl::FromChrono(SteadyClock::now() - start);
}

class ClosedLoop {
 public:
  ClosedLoop(const SamplerClient& client, const Workload& workload,
             const ClosedLoopOptions& options, Recorder& recorder)
      : client_(client), workload_(workload), options_(options), recorder_(recorder) {}

  absl::Duration Run() {
    running_ = options_.concurrency;
    for (int i = 0; i < options_.concurrency; ++i) StartCall();
    std::unique_lock<std::mutex> lock(mutex_);
    auto next_progress = start_ + absl::ToChronoNanoseconds(options_.progress_every);
    while (running_ > 0) {
      if (changed_.wait_until(lock, next_progress) == std::cv_status::no_timeout) continue;
      next_progress += absl::ToChronoNanoseconds(options_.progress_every);
      if (options_.progress) options_.progress(Since(start_));
    }
    return end_;
  }

 private:
  // Starts the next call of a slot, or ends the slot when there is none to start.
  void StartCall() {
    const uint64_t call = next_call_.fetch_add(1, std::memory_order_relaxed);
    if (call >= options_.max_calls || Since(start_) >= options_.duration) {
      const std::lock_guard<std::mutex> lock(mutex_);
      end_ = Since(start_);
      --running_;
      // Under the lock: this object may go as soon as Run sees that nothing runs.
      changed_.notify_one();
      return;
    }
    const EncodedRequest& request = workload_.Request(call);
    const auto begin = SteadyClock::now();
    client_.SampleAsync(request,
                        [this, begin, &request](const absl::StatusOr<SampleResult>& result) {
                          recorder_.Record(Since(begin), request.byte_size(), result);
                          StartCall();
                        });
  }

  const SamplerClient& client_;
  const Workload& workload_;
  const ClosedLoopOptions& options_;
  Recorder& recorder_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  std::atomic<uint64_t> next_call_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;                            // slots, guarded by mutex_
  absl::Duration end_ = absl::ZeroDuration();  // when the last slot ended, guarded by mutex_
};

}  // namespace

absl::Duration RunClosedLoop(const SamplerClient& client, const Workload& workload,
                             const ClosedLoopOptions& options, Recorder& recorder) {
  return ClosedLoop(client, workload, options, recorder).Run();
}

}  // namespace token_sampler::client
