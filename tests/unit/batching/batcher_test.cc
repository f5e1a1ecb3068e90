#include "server/batching/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "tests/testing/batcher_jobs.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;

class BatcherTest : public ::testing::Test {
 protected:
  // Makes a batcher whose executors are all busy with one row each until sampler_.Open().
  Batcher& StartBusy(const BatcherOptions& options) {
    batcher_.emplace(sampler_, options, clock_);
    sampler_.Close();
    for (int i = 0; i < options.num_executors; ++i) {
      EXPECT_TRUE(batcher_->Submit(MakeJob(1)).ok());
      sampler_.AwaitCalls(static_cast<size_t>(i) + 1);
    }
    return *batcher_;
  }

  // Nothing may wait for a closed sampler when the batcher is destroyed.
  void TearDown() override { sampler_.Open(); }

  GatedSampler sampler_;
  FakeClock clock_;
  std::optional<Batcher> batcher_;
};

TEST_F(BatcherTest, AnIdleExecutorTakesAJobAtOnce) {
  Batcher batcher(sampler_, {}, clock_);
  for (const uint64_t step : {10u, 20u}) {
    const auto job = MakeJob(3, step);
    ASSERT_TRUE(batcher.Submit(job).ok());
    EXPECT_TRUE(job->Await().ok());
    EXPECT_THAT(job->tokens(), ElementsAre(step, step + 1, step + 2));
  }
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(3, 3));
}

TEST_F(BatcherTest, JobsGatherWhileTheExecutorIsBusyAndGetTheirOwnResults) {
  Batcher& batcher = StartBusy({});
  const auto a = MakeJob(2, 100);
  const auto b = MakeJob(1, 200);
  const auto c = MakeJob(3, 300);
  for (const auto& job : {a, b, c}) ASSERT_TRUE(batcher.Submit(job).ok());
  sampler_.Open();
  for (const auto& job : {a, b, c}) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(a->tokens(), ElementsAre(100, 101));
  EXPECT_THAT(b->tokens(), ElementsAre(200));
  EXPECT_THAT(c->tokens(), ElementsAre(300, 301, 302));
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 6));
  const BatcherCounters counters = batcher.counters();
  EXPECT_EQ(counters.batches, 2);
  EXPECT_EQ(counters.rows, 7);
}

TEST_F(BatcherTest, ABatchTakesJobsInOrderUpToItsLimitAndCutsThoseThatAreLarger) {
  Batcher& batcher = StartBusy({.max_batch_rows = 4});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (const size_t rows : {2u, 2u, 3u, 9u, 1u}) jobs.push_back(MakeJob(rows));
  for (const auto& job : jobs) ASSERT_TRUE(batcher.Submit(job).ok());
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 4, 4, 4, 4, 1));
}

TEST_F(BatcherTest, AJobThatRunsAloneSharesNoBatch) {
  Batcher& batcher = StartBusy({});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (const size_t rows : {2u, 2u, 3u, 1u, 1u}) jobs.push_back(MakeJob(rows));
  jobs[2]->runs_alone = true;
  for (const auto& job : jobs) ASSERT_TRUE(batcher.Submit(job).ok());
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 4, 3, 2));
}

TEST_F(BatcherTest, ExecutorsWorkSideBySide) {
  Batcher& batcher = StartBusy({.num_executors = 3});  // returns when three calls have begun
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 1, 1));
  sampler_.Open();
  batcher.Stop();
  EXPECT_EQ(batcher.counters().rows, 3);
}

TEST_F(BatcherTest, AShortJobIsSampledByItsSubmitterWhenNobodyWorks) {
  sampler_.SetOnCallingThread();
  Batcher batcher(sampler_, {}, clock_);
  const auto job = MakeJob(3, 10);
  ASSERT_TRUE(batcher.Submit(job).ok());
  EXPECT_EQ(job->times_done(), 1);
  EXPECT_THAT(job->tokens(), ElementsAre(10, 11, 12));
  EXPECT_EQ(batcher.counters().batches, 1);
  EXPECT_EQ(batcher.counters().rows, 3);
}

TEST_F(BatcherTest, AJobIsHandedOverThatIsLongOrAloneOrLate) {
  sampler_.SetOnCallingThread();
  sampler_.Close();
  Batcher batcher(sampler_, {.num_executors = 3}, clock_);
  const auto alone = MakeJob(1);
  alone->runs_alone = true;
  const auto long_one = std::make_shared<TestJob>(1, 0, int64_t{1} << 20);
  const auto late = MakeJob(1);
  late->deadline = clock_.Now() - std::chrono::milliseconds(1);
  // If it sampled, Submit would wait for the closed sampler.
  ASSERT_TRUE(batcher.Submit(late).ok());
  EXPECT_EQ(late->Await().code(), absl::StatusCode::kDeadlineExceeded);
  for (const auto& job : {alone, long_one}) ASSERT_TRUE(batcher.Submit(job).ok());
  sampler_.Open();
  for (const auto& job : {alone, long_one}) EXPECT_TRUE(job->Await().ok());
}

TEST_F(BatcherTest, AShortJobTakesItsPlaceInTheQueueWhenAnExecutorWorks) {
  sampler_.SetOnCallingThread();
  sampler_.Close();
  Batcher batcher(sampler_, {}, clock_);
  const auto first = MakeJob(1);
  first->runs_alone = true;
  ASSERT_TRUE(batcher.Submit(first).ok());
  sampler_.AwaitCalls(1);
  const auto second = MakeJob(1);
  ASSERT_TRUE(batcher.Submit(second).ok());
  EXPECT_EQ(batcher.counters().waiting, 1);
  sampler_.Open();
  EXPECT_TRUE(second->Await().ok());
}

TEST_F(BatcherTest, SubmittersSampleAsManyJobsAsTheSamplerHasThreads) {
  sampler_.SetOnCallingThread();
  sampler_.Close();
  Batcher batcher(sampler_, {}, clock_);
  std::thread submitter([&] { EXPECT_TRUE(batcher.Submit(MakeJob(1)).ok()); });
  sampler_.AwaitCalls(1);
  const auto second = MakeJob(1);
  ASSERT_TRUE(batcher.Submit(second).ok());  // for the executor
  sampler_.AwaitCalls(2);
  sampler_.Open();
  EXPECT_TRUE(second->Await().ok());
  submitter.join();
}

TEST_F(BatcherTest, StopWaitsForSubmittersThatSample) {
  sampler_.SetOnCallingThread();
  sampler_.Close();
  Batcher batcher(sampler_, {}, clock_);
  const auto job = MakeJob(1);
  std::thread submitter([&] { EXPECT_TRUE(batcher.Submit(job).ok()); });
  sampler_.AwaitCalls(1);
  std::thread opener([&] {
    EXPECT_TRUE(Eventually([&] { return absl::IsUnavailable(batcher.Submit(MakeJob(1))); }));
    sampler_.Open();
  });
  batcher.Stop();
  EXPECT_EQ(job->times_done(), 1);
  submitter.join();
  opener.join();
}

TEST_F(BatcherTest, RefusesAJobThatTheQueueHasNoRoomFor) {
  Batcher& batcher = StartBusy({.max_queued_rows = 5, .max_queued_bytes = 100});
  const auto waiting = MakeJob(3);
  ASSERT_TRUE(batcher.Submit(waiting).ok());

  const auto too_many_rows = MakeJob(3);
  absl::Status status = batcher.Submit(too_many_rows);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("6 of at most 5 rows"));

  const auto too_many_bytes = MakeJob(1);
  too_many_bytes->bytes = 98;
  status = batcher.Submit(too_many_bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("101 of at most 100 bytes"));

  too_many_bytes->bytes = 97;
  EXPECT_TRUE(batcher.Submit(too_many_bytes).ok());
  sampler_.Open();
  batcher.Stop();
  EXPECT_EQ(too_many_rows->times_done(), 0);
  EXPECT_EQ(batcher.counters().refused, 2);
}

TEST_F(BatcherTest, AJobBeyondTheLimitsIsTakenWhenNothingWaits) {
  Batcher& batcher = StartBusy({.max_queued_rows = 5, .max_queued_bytes = 5});
  const auto large = MakeJob(7);
  EXPECT_TRUE(batcher.Submit(large).ok());
  EXPECT_EQ(batcher.Submit(MakeJob(1)).code(), absl::StatusCode::kResourceExhausted);
  sampler_.Open();
  EXPECT_TRUE(large->Await().ok());
}

TEST_F(BatcherTest, ACancelledJobLeavesTheQueueAtOnceAndMakesRoom) {
  Batcher& batcher = StartBusy({.max_queued_rows = 5});
  const auto cancelled = MakeJob(5);
  ASSERT_TRUE(batcher.Submit(cancelled).ok());
  const auto next = MakeJob(5, 50);
  ASSERT_EQ(batcher.Submit(next).code(), absl::StatusCode::kResourceExhausted);

  batcher.Cancel(*cancelled);
  EXPECT_EQ(cancelled->times_done(), 1);
  EXPECT_EQ(cancelled->Await().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(batcher.Submit(next).ok());
  sampler_.Open();
  EXPECT_TRUE(next->Await().ok());
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 5));
  EXPECT_EQ(batcher.counters().dropped, 1);
}

TEST_F(BatcherTest, CancellingAJobUnderWayOrDoneChangesNothing) {
  Batcher batcher(sampler_, {}, clock_);
  sampler_.Close();
  const auto job = MakeJob(1, 7);
  ASSERT_TRUE(batcher.Submit(job).ok());
  sampler_.AwaitCalls(1);
  batcher.Cancel(*job);
  sampler_.Open();
  EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(job->tokens(), ElementsAre(7));
  batcher.Cancel(*job);
  batcher.Stop();
  EXPECT_EQ(job->times_done(), 1);
}

TEST_F(BatcherTest, AJobThatWasCancelledBeforehandIsNotAccepted) {
  Batcher batcher(sampler_, {}, clock_);
  const auto job = MakeJob(1);
  batcher.Cancel(*job);
  EXPECT_EQ(batcher.Submit(job).code(), absl::StatusCode::kCancelled);
  batcher.Stop();
  EXPECT_EQ(job->times_done(), 0);
}

TEST_F(BatcherTest, AJobIsSampledUpToItsDeadlineAndNotBehindIt) {
  Batcher& batcher = StartBusy({});
  const auto late = MakeJob(2);
  late->deadline = TimePoint(std::chrono::seconds(9));
  const auto in_time = MakeJob(3);
  in_time->deadline = TimePoint(std::chrono::seconds(10));
  for (const auto& job : {late, in_time}) ASSERT_TRUE(batcher.Submit(job).ok());
  clock_.SetSeconds(10);
  sampler_.Open();
  EXPECT_EQ(late->Await().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(in_time->Await().ok());
  EXPECT_THAT(sampler_.batch_rows(), ElementsAre(1, 3));
  EXPECT_EQ(batcher.counters().dropped, 1);
}

TEST_F(BatcherTest, ACancelledJobWhoseDeadlineHasPassedSaysSo) {
  Batcher& batcher = StartBusy({});
  const auto job = MakeJob(1);
  job->deadline = TimePoint(std::chrono::seconds(9));
  ASSERT_TRUE(batcher.Submit(job).ok());
  clock_.SetSeconds(10);
  batcher.Cancel(*job);
  EXPECT_EQ(job->Await().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(BatcherTest, AnErrorOfTheSamplerIsThatOfEveryJobOfTheBatchAndOfNoOther) {
  Batcher& batcher = StartBusy({});
  sampler_.Open();
  batcher.Stop();

  Batcher second(sampler_, {.max_batch_rows = 4}, clock_);
  sampler_.Close();
  const auto alone = MakeJob(1);
  ASSERT_TRUE(second.Submit(alone).ok());
  sampler_.AwaitCalls(2);
  const auto a = MakeJob(2);
  const auto b = MakeJob(2);
  const auto after = MakeJob(1, 5);
  for (const auto& job : {a, b, after}) ASSERT_TRUE(second.Submit(job).ok());
  sampler_.FailNext(absl::InternalError("the device is gone"));
  sampler_.Open();
  EXPECT_EQ(alone->Await(), absl::InternalError("the device is gone"));
  EXPECT_TRUE(a->Await().ok());
  EXPECT_TRUE(b->Await().ok());
  EXPECT_TRUE(after->Await().ok());
}

TEST_F(BatcherTest, StopRefusesWhatWaitsAndFinishesWhatIsUnderWay) {
  Batcher batcher(sampler_, {}, clock_);
  sampler_.Close();
  const auto running = MakeJob(1, 3);
  ASSERT_TRUE(batcher.Submit(running).ok());
  sampler_.AwaitCalls(1);
  const auto waiting = MakeJob(1);
  ASSERT_TRUE(batcher.Submit(waiting).ok());

  std::thread stopper([&batcher] { batcher.Stop(); });
  EXPECT_EQ(waiting->Await().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(batcher.Submit(MakeJob(1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(running->times_done(), 0);
  sampler_.Open();
  stopper.join();
  EXPECT_TRUE(running->Await().ok());
  EXPECT_THAT(running->tokens(), ElementsAre(3));
  batcher.Stop();
  EXPECT_EQ(waiting->times_done(), 1);
  EXPECT_EQ(running->times_done(), 1);
}

// Submits, cancellations, executors and the stop run at the same time, also for the thread
// sanitizer.
TEST_F(BatcherTest, EveryAcceptedJobIsDoneExactlyOnce) {
  constexpr int kThreads = 4;
  constexpr int kJobsPerThread = 500;
  Batcher batcher(sampler_, {.num_executors = 3, .max_batch_rows = 8, .max_queued_rows = 64},
                  clock_);
  std::vector<std::vector<std::shared_ptr<TestJob>>> accepted(kThreads);
  std::atomic<int> half_done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kJobsPerThread; ++i) {
        auto job = MakeJob(static_cast<size_t>(1 + i % 3));
        if (batcher.Submit(job).ok()) accepted[static_cast<size_t>(t)].push_back(job);
        if (i % 4 == 0) batcher.Cancel(*job);
        if (i == kJobsPerThread / 2) {
          ++half_done;
          half_done.notify_all();
        }
      }
    });
  }
  for (int seen = half_done; seen < kThreads; seen = half_done) half_done.wait(seen);
  batcher.Stop();
  for (std::thread& thread : threads) thread.join();
  size_t count = 0;
  for (const auto& jobs : accepted) {
    for (const auto& job : jobs) EXPECT_EQ(job->times_done(), 1);
    count += jobs.size();
  }
  EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace token_sampler
