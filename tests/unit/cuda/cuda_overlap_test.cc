// Tests a queue in front of the CUDA sampler, with as many executors as the sampler asks for: a
// batch is staged while the previous one is on the device.

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "cuda/cuda_sampler.h"
#include "sampler/rows/row_source.h"
#include "server/batching/batcher.h"
#include "tests/simt/machine.h"

namespace token_sampler {
namespace {

constexpr float kValues[4] = {1.0f, 2.0f, 3.0f, 4.0f};

class Event {
 public:
  void Come() {
    const std::lock_guard<std::mutex> lock(mutex_);
    has_come_ = true;
    changed_.notify_all();
  }
  // Waits for the event. False if it does not come within far more time than any machine needs.
  bool Await() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [this] { return has_come_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_come_ = false;
};

// A source of kValues whose Read waits for the event `before` and then signals `behind`.
class EventfulSource final : public RowSource {
 public:
  EventfulSource(Event* before, Event* behind) : before_(before), behind_(behind) {}

  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    if (before_ != nullptr && !before_->Await()) return absl::InternalError("nobody came");
    std::memcpy(to, reinterpret_cast<const char*>(kValues) + offset, size);
    if (behind_ != nullptr) behind_->Come();
    return absl::OkStatus();
  }

 private:
  Event* const before_;
  Event* const behind_;
};

class Job final : public SamplingJob {
 public:
  Job(const RowSource& source, const SamplingParams& params) {
    RowInput row;
    row.source = &source;
    row.vocab = 4;
    row.params = &params;
    rows.push_back(row);
  }
  void Done(const absl::Status& status) override {
    status_ = status;
    done_.Come();
  }
  bool Succeeds() {
    bool succeeds = done_.Await() && status_.ok();
    for (const RowResult& result : results) succeeds = succeeds && result.code == RowCode::kOk;
    return succeeds;
  }

 private:
  Event done_;
  absl::Status status_;
};

class CudaOverlapTest : public ::testing::Test {
 protected:
  CudaOverlapTest() { simt::ResetMachine(); }
};

TEST_F(CudaOverlapTest, ABatchIsStagedBeforeTheOneBeforeItIsSynchronised) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  const SamplingParams for_kernel;
  SamplingParams for_cpu;
  for_cpu.typical_p = 0.5;
  Event first_is_staged;
  Event second_is_staged;
  // The row for the CPU is read between the launch and the wait for its end.
  const EventfulSource first(nullptr, &first_is_staged);
  const EventfulSource between(&second_is_staged, nullptr);
  const EventfulSource second(&first_is_staged, &second_is_staged);
  auto one = std::make_shared<Job>(first, for_kernel);
  one->rows.push_back(Job(between, for_cpu).rows[0]);
  one->runs_alone = true;
  auto other = std::make_shared<Job>(second, for_kernel);
  other->runs_alone = true;
  Batcher batcher(*sampler, {.num_executors = 0});
  ASSERT_TRUE(batcher.Submit(one).ok());
  ASSERT_TRUE(batcher.Submit(other).ok());
  EXPECT_TRUE(one->Succeeds());
  EXPECT_TRUE(other->Succeeds());
  batcher.Stop();
  EXPECT_EQ(simt::KernelCount(), 2u);
}

TEST_F(CudaOverlapTest, AsManyCallsAsLanesGoOnAtOnce) {
  EXPECT_EQ((*CreateCudaSampler())->parallel_calls(), 2);
  simt::SetDevices({simt::Device{}, simt::Device{}});
  EXPECT_EQ((*CreateCudaSampler())->parallel_calls(), 4);
  simt::ResetMachine();
}

}  // namespace
}  // namespace token_sampler
