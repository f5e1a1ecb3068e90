// A sampler that a test can stop and release, to see what happens meanwhile.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_GATED_SAMPLER_H_
#define TOKEN_SAMPLER_TESTS_TESTING_GATED_SAMPLER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sampler/sampler.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// Every row's token is its step, so that a test can tell the rows' results apart. Thread-safe.
class GatedSampler final : public Sampler {
 public:
  absl::string_view name() const override { return "gated"; }
  std::string device() const override { return "a test"; }
  bool samples_on_calling_thread() const override { return on_calling_thread_; }
  std::vector<Fallback> fallbacks() const override { return {{"TYPICAL_P", 12}, {"outputs", 3}}; }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    MutexLock lock(mutex_);
    batch_rows_.push_back(rows.size());
    batch_steps_.emplace_back();
    for (const RowInput& row : rows) batch_steps_.back().push_back(row.key.step);
    changed_.NotifyAll();
    while (closed_ && passes_ == 0) changed_.Wait(mutex_);
    if (closed_) --passes_;
    for (size_t i = 0; i < rows.size(); ++i) {
      results[i].Clear();
      results[i].token_ids.push_back(static_cast<uint32_t>(rows[i].key.step));
    }
    return std::exchange(next_status_, absl::OkStatus());
  }

  // Makes samples_on_calling_thread() true. Call it before the batcher is created.
  void SetOnCallingThread() { on_calling_thread_ = true; }

  // Makes Sample() wait until Open().
  void Close() {
    MutexLock lock(mutex_);
    closed_ = true;
  }

  void Open() {
    MutexLock lock(mutex_);
    closed_ = false;
    changed_.NotifyAll();
  }

  // Lets one more call end although the sampler is closed.
  void LetOnePass() {
    MutexLock lock(mutex_);
    ++passes_;
    changed_.NotifyAll();
  }

  // Makes the next call that ends return `status`.
  void FailNext(absl::Status status) {
    MutexLock lock(mutex_);
    next_status_ = std::move(status);
  }

  // Waits until `calls` calls have begun since the start.
  void AwaitCalls(size_t calls) {
    MutexLock lock(mutex_);
    while (batch_rows_.size() < calls) changed_.Wait(mutex_);
  }

  // The steps of the rows of each call, in order.
  std::vector<std::vector<uint64_t>> batch_steps() const {
    MutexLock lock(mutex_);
    return batch_steps_;
  }

  // The number of rows of each call, in order.
  std::vector<size_t> batch_rows() const {
    MutexLock lock(mutex_);
    return batch_rows_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  bool on_calling_thread_ = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int passes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status next_status_ ABSL_GUARDED_BY(mutex_);
  std::vector<size_t> batch_rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<uint64_t>> batch_steps_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_TESTING_GATED_SAMPLER_H_
