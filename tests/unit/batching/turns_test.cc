// Tests jobs that are too long for a slice: each gives turns to others, and ends when nobody wants
// it any more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/batching/batcher.h"
#include "tests/testing/batcher_jobs.h"

namespace token_sampler {
namespace {

// A row that certainly takes longer than a slice.
constexpr int64_t kLongVocab = int64_t{1} << 23;

// A sampler for which a row with a pace takes 100 pieces of a millisecond, and asks before each;
// other rows take no time. Rows with a pace begin only after the test has called Open. Thread-safe.
class LongRowSampler final : public Sampler {
 public:
  static constexpr int kPieces = 100;

  explicit LongRowSampler(FakeClock& clock) : clock_(clock) {}

  absl::string_view name() const override { return "long rows"; }
  std::string device() const override { return "a test"; }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      results[i].Clear();
      if (rows[i].pace != nullptr && !TakeLong(rows[i].key.step, *rows[i].pace)) continue;
      results[i].token_ids.push_back(static_cast<uint32_t>(rows[i].key.step));
      MutexLock lock(mutex_);
      if (rows[i].pace == nullptr) pieces_before_short_.push_back(pieces_);
    }
    return absl::OkStatus();
  }

  // Waits until `rows` long rows have begun since the start.
  void AwaitLong(int rows) {
    MutexLock lock(mutex_);
    while (begun_ < rows) changed_.Wait(mutex_);
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  // Returns how many long rows had begun when the row of this step ended.
  int begun_before_end_of(uint64_t step) {
    MutexLock lock(mutex_);
    return begun_before_end_[step];
  }
  int pieces() {
    MutexLock lock(mutex_);
    return pieces_;
  }
  // Returns how many pieces of long rows were done before each of the short rows.
  std::vector<int> pieces_before_short() {
    MutexLock lock(mutex_);
    return pieces_before_short_;
  }

 private:
  bool TakeLong(uint64_t step, Pace& pace) {
    {
      MutexLock lock(mutex_);
      ++begun_;
      changed_.NotifyAll();
      while (!open_) changed_.Wait(mutex_);
    }
    for (int piece = 0; piece < kPieces; ++piece) {
      if (!pace.GoOn()) return false;
      clock_.AddMilliseconds(1);
      MutexLock lock(mutex_);
      ++pieces_;
    }
    MutexLock lock(mutex_);
    begun_before_end_[step] = begun_;
    return true;
  }

  FakeClock& clock_;
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  int begun_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, int> begun_before_end_ ABSL_GUARDED_BY(mutex_);
  int pieces_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int> pieces_before_short_ ABSL_GUARDED_BY(mutex_);
};

class TurnsTest : public testing::Test {
 protected:
  void SetUp() override { batcher_.emplace(sampler_, BatcherOptions(), clock_); }
  void TearDown() override { sampler_.Open(); }

  std::shared_ptr<TestJob> Submit(const std::string& client, uint64_t first_step, int64_t vocab,
                                  TimePoint deadline = TimePoint::max()) {
    auto job = MakeJob(1, first_step, vocab);
    job->identity = {client, client};
    job->deadline = deadline;
    const absl::Status status = batcher_->Submit(job);
    EXPECT_TRUE(status.ok()) << status;
    return job;
  }

  FakeClock clock_;
  LongRowSampler sampler_{clock_};
  std::optional<Batcher> batcher_;
};

TEST_F(TurnsTest, ALongRowLetsOthersGoFirstWhenItsSliceIsOver) {
  const auto row = Submit("greedy", 5, kLongVocab);
  sampler_.AwaitLong(1);
  const auto first = Submit("polite", 1, 1);
  const auto second = Submit("polite", 2, 1);
  sampler_.Open();
  EXPECT_TRUE(first->Await().ok());
  EXPECT_TRUE(second->Await().ok());
  EXPECT_TRUE(row->Await().ok());
  EXPECT_THAT(row->tokens(), testing::ElementsAre(5));
  for (const int pieces : sampler_.pieces_before_short()) EXPECT_LE(pieces, 3);
}

TEST_F(TurnsTest, ALongRowKeepsItsTurnWhileNobodyWaits) {
  sampler_.Open();
  EXPECT_TRUE(Submit("client", 5, kLongVocab)->Await().ok());
  EXPECT_EQ(batcher_->counters().turns, 1);
}

TEST_F(TurnsTest, LongRowsShareTheTimeAndAllAreDone) {
  const auto a = Submit("a", 1, kLongVocab);
  sampler_.AwaitLong(1);
  const auto b = Submit("b", 2, kLongVocab);
  const auto c = Submit("c", 3, kLongVocab);
  sampler_.Open();
  for (const auto& job : {a, b, c}) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(b->tokens(), testing::ElementsAre(2));
  EXPECT_GT(batcher_->counters().turns, 50);
}

TEST_F(TurnsTest, ACancelledRowEndsWhereItIs) {
  const auto row = Submit("client", 5, kLongVocab);
  sampler_.AwaitLong(1);
  batcher_->Cancel(*row);
  sampler_.Open();
  EXPECT_EQ(row->Await().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sampler_.pieces(), 0);
}

TEST_F(TurnsTest, ARowEndsWhenItsDeadlinePasses) {
  const auto row = Submit("client", 5, kLongVocab, TimePoint(std::chrono::milliseconds(30)));
  sampler_.Open();
  EXPECT_EQ(row->Await().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(sampler_.pieces(), 31);
}

TEST_F(TurnsTest, StopEndsWhatTakesTurnsAndWhatWaitsForOne) {
  const auto a = Submit("a", 1, kLongVocab);
  sampler_.AwaitLong(1);
  const auto b = Submit("b", 2, kLongVocab);
  std::thread stopper([this] { batcher_->Stop(); });
  EXPECT_EQ(b->Await().code(), absl::StatusCode::kUnavailable);
  sampler_.Open();
  stopper.join();
  EXPECT_EQ(a->Await().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sampler_.pieces(), 0);
}

// With a sampler that samples one row at a time, at most four long rows run, and at most two of one
// client.
TEST_F(TurnsTest, FewRowsRunAtATimeAndNoClientHasAllThreads) {
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 6; ++i) jobs.push_back(Submit("greedy", i, kLongVocab));
  sampler_.AwaitLong(1);
  jobs.push_back(Submit("polite", 9, kLongVocab));
  sampler_.Open();
  EXPECT_TRUE(jobs.back()->Await().ok());
  // It had as many turns as the other client's two rows together.
  EXPECT_EQ(sampler_.begun_before_end_of(9), 3);
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
}

// A job whose answer takes long to write, until the test lets it finish.
class LargeAnswer final : public SamplingJob {
 public:
  LargeAnswer(const SamplingParams& params, const OutputOptions& outputs) {
    RowInput row;
    row.vocab = 100'000;
    row.params = &params;
    row.outputs = &outputs;
    rows = {row};
  }

  void Done(const absl::Status&) override {
    MutexLock lock(mutex_);
    writing_ = true;
    changed_.NotifyAll();
    while (!written_) changed_.Wait(mutex_);
  }

  void AwaitWriting() {
    MutexLock lock(mutex_);
    while (!writing_) changed_.Wait(mutex_);
  }

  void Finish() {
    MutexLock lock(mutex_);
    written_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool written_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST_F(TurnsTest, ALargeAnswerHoldsNobodyWhileItIsWritten) {
  sampler_.Open();
  const SamplingParams params;
  const OutputOptions outputs = {.top_logprobs = 100'000};
  const auto large = std::make_shared<LargeAnswer>(params, outputs);
  ASSERT_TRUE(batcher_->Submit(large).ok());
  large->AwaitWriting();
  EXPECT_TRUE(Submit("other", 5, 1)->Await().ok());
  EXPECT_TRUE(Submit("other", 5, kLongVocab)->Await().ok());
  large->Finish();
}

// A job that samples 50 batches of one short row, like verifying a draft.
class ManyBatches final : public SamplingJob {
 public:
  ManyBatches(const SamplingParams& params, Batcher& batcher) : batcher_(batcher) {
    RowInput row;
    row.vocab = 1;
    row.params = &params;
    rows = {row};
    runs_alone = true;
    work = 50'000'000;
  }

  absl::Status Run(Sampler& sampler) override {
    results.resize(1);
    for (batches = 0; batches < 50; ++batches) {
      if (batches == 10) batcher_.Cancel(*this);
      rows[0].pace = nullptr;
      const absl::Status status = sampler.Sample(rows, absl::MakeSpan(results));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void Done(const absl::Status& status) override {
    MutexLock lock(mutex_);
    status_ = status;
    is_done_ = true;
    done_.NotifyAll();
  }

  absl::Status Await() {
    MutexLock lock(mutex_);
    while (!is_done_) done_.Wait(mutex_);
    return status_;
  }

  int batches = 0;

 private:
  Batcher& batcher_;
  Mutex mutex_;
  CondVar done_;
  bool is_done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(TurnsTest, AComputationOfManyBatchesEndsBetweenThem) {
  const SamplingParams params;
  for (const uint64_t work : {1u, 50'000'000u}) {
    const auto job = std::make_shared<ManyBatches>(params, *batcher_);
    job->work = work;
    ASSERT_TRUE(batcher_->Submit(job).ok());
    EXPECT_EQ(job->Await().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(job->batches, 10);
  }
}

// Long rows, short ones, cancellations and the stop run at the same time, also for the thread
// sanitizer.
TEST_F(TurnsTest, EveryAcceptedJobIsDoneExactlyOnce) {
  sampler_.Open();
  std::vector<std::vector<std::shared_ptr<TestJob>>> accepted(3);
  std::vector<std::thread> threads;
  std::atomic<int> half_done = 0;
  for (size_t t = 0; t < accepted.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 200; ++i) {
        auto job = MakeJob(1 + i % 3, i, i % 5 == 0 ? kLongVocab : 1);
        job->identity = {std::to_string(t), std::to_string(i % 2)};
        if (batcher_->Submit(job).ok()) accepted[t].push_back(job);
        if (i % 7 == 0) batcher_->Cancel(*job);
        if (i == 100) {
          ++half_done;
          half_done.notify_all();
        }
      }
    });
  }
  for (int seen = half_done; seen < 3; seen = half_done) half_done.wait(seen);
  batcher_->Stop();
  for (std::thread& thread : threads) thread.join();
  for (const auto& jobs : accepted) {
    EXPECT_FALSE(jobs.empty());
    for (const auto& job : jobs) EXPECT_EQ(job->times_done(), 1);
  }
}

}  // namespace
}  // namespace token_sampler
