// Jobs for a batcher, and a clock that a test sets.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_BATCHER_JOBS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_BATCHER_JOBS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "sampler/sampler.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

class FakeClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(std::chrono::milliseconds(now_.load())); }
  void SetSeconds(int seconds) { now_ = int64_t{1000} * seconds; }
  void AddMilliseconds(int milliseconds) { now_ += milliseconds; }

 private:
  std::atomic<int64_t> now_ = 0;
};

// Counts how often Done() was called, and keeps the last status.
class TestJob final : public SamplingJob {
 public:
  TestJob(size_t row_count, uint64_t first_step, int64_t vocab = 1) {
    for (size_t r = 0; r < row_count; ++r) {
      RowInput row;
      row.vocab = vocab;
      row.params = &params_;
      row.key.step = first_step + r;
      rows.push_back(row);
    }
    bytes = row_count;
  }

  void Done(const absl::Status& status) override {
    MutexLock lock(mutex_);
    ++times_done_;
    status_ = status;
    done_.NotifyAll();
  }

  absl::Status Await() {
    MutexLock lock(mutex_);
    while (times_done_ == 0) done_.Wait(mutex_);
    return status_;
  }

  int times_done() {
    MutexLock lock(mutex_);
    return times_done_;
  }

  std::vector<uint32_t> tokens() const {
    std::vector<uint32_t> all;
    for (const RowResult& result : results) {
      all.insert(all.end(), result.token_ids.begin(), result.token_ids.end());
    }
    return all;
  }

 private:
  const SamplingParams params_;
  Mutex mutex_;
  CondVar done_;
  int times_done_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

inline std::shared_ptr<TestJob> MakeJob(size_t row_count, uint64_t first_step = 0,
                                        int64_t vocab = 1) {
  return std::make_shared<TestJob>(row_count, first_step, vocab);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_TESTING_BATCHER_JOBS_H_
