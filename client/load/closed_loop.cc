#include "client/load/closed_loop.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
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
    for (int i = 0; i < options_.concurrency; ++i) StartCall(kFirstPause);
    std::unique_lock<std::mutex> lock(mutex_);
    SteadyClock::time_point next_progress = start_ + Interval();
    while (running_ > 0) {
      const SteadyClock::time_point now = SteadyClock::now();
      if (now >= next_progress) {
        next_progress += Interval();
        if (options_.progress) options_.progress(Since(start_));
      }
      if (options_.stopped && options_.stopped()) stopped_ = true;
      ResumeSlots(now, lock);
      if (running_ == 0) break;
      SteadyClock::time_point wake = std::min(next_progress, now + kPoll);
      if (!paused_.empty()) wake = std::min(wake, paused_.begin()->first);
      changed_.wait_until(lock, wake);
    }
    return end_;
  }

 private:
  // The pause after a failed call: 10 ms, twice as long after each further one, at most 1 s.
  static constexpr std::chrono::milliseconds kFirstPause{10};
  static constexpr std::chrono::milliseconds kLongestPause{1000};
  static constexpr std::chrono::milliseconds kPoll{100};

  std::chrono::nanoseconds Interval() const {
    return absl::ToChronoNanoseconds(options_.progress_every);
  }

  bool IsOver() const { return stopped_ || Since(start_) >= options_.duration; }

  // Resumes the slots whose pause is over, and all slots once no call starts any more.
  void ResumeSlots(SteadyClock::time_point now, std::unique_lock<std::mutex>& lock) {
    while (!paused_.empty() && (paused_.begin()->first <= now || IsOver())) {
      const std::chrono::milliseconds pause = paused_.begin()->second;
      paused_.erase(paused_.begin());
      lock.unlock();
      StartCall(pause);
      lock.lock();
    }
  }

  // Starts the next call of a slot, or ends the slot when there is none to start. The slot pauses
  // for `pause` when the call fails.
  void StartCall(std::chrono::milliseconds pause) {
    const uint64_t call = next_call_.fetch_add(1, std::memory_order_relaxed);
    if (call >= options_.max_calls || IsOver()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      end_ = Since(start_);
      --running_;
      // Under the lock: this object may be destroyed as soon as Run() sees that nothing runs.
      changed_.notify_one();
      return;
    }
    const EncodedRequest& request = workload_.Request(call);
    const auto begin = SteadyClock::now();
    client_.SampleAsync(
        request, [this, begin, pause, &request](const absl::StatusOr<SampleResult>& result) {
          recorder_.Record(Since(begin), request.byte_size(), result);
          if (result.ok()) return StartCall(kFirstPause);
          const std::lock_guard<std::mutex> lock(mutex_);
          paused_.emplace(SteadyClock::now() + pause, std::min(2 * pause, kLongestPause));
          changed_.notify_one();
        });
  }

  const SamplerClient& client_;
  const Workload& workload_;
  const ClosedLoopOptions& options_;
  Recorder& recorder_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  std::atomic<uint64_t> next_call_ = 0;
  std::atomic<bool> stopped_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  // mutex_ guards all that follows.
  int running_ = 0;                            // slots
  absl::Duration end_ = absl::ZeroDuration();  // when the last slot ended
  // Pausing slots, by the time when they resume, with their pause after the next failure.
  std::multimap<SteadyClock::time_point, std::chrono::milliseconds> paused_;
};

}  // namespace

absl::Duration RunClosedLoop(const SamplerClient& client, const Workload& workload,
                             const ClosedLoopOptions& options, Recorder& recorder) {
  return ClosedLoop(client, workload, options, recorder).Run();
}

}  // namespace token_sampler::client
