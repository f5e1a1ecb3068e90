// Tests ten times as many callers as the sampler can serve by their deadlines, in simulated time:
// the sampler's thread advances the clock, and makes callers come and go.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/batching/batcher.h"
#include "server/batching/work_estimate.h"
#include "tests/testing/batcher_jobs.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr nanoseconds kTime = std::chrono::seconds(5);
constexpr size_t kRows = 16;
constexpr int64_t kVocab = 100'000;  // a row of it takes about 60 us by the estimate

// Returns the time of a batch that begins at `now`, as a multiple of its estimate.
using Slowness = std::function<double(nanoseconds now)>;

class Simulation final : public Sampler, public Clock {
 public:
  Simulation(int callers, nanoseconds deadline, Slowness slowness)
      : deadline_(deadline), slowness_(std::move(slowness)), batcher_(*this, {}, *this) {
    for (int i = 0; i < callers; ++i) At(std::chrono::microseconds(100 * i), [this] { Come(); });
    RunNext();
    over_.get_future().wait();
    batcher_.Stop();
  }

  // The share of the time that was spent on rows of jobs that were done by their deadline.
  double goodput() const { return static_cast<double>(useful_time_.count()) / kTime.count(); }
  // The share of the sampled rows whose jobs were done by their deadline.
  double useful() const {
    return static_cast<double>(useful_rows_) / static_cast<double>(sampled_rows_);
  }

  absl::string_view name() const override { return "simulated"; }
  std::string device() const override { return "a test"; }
  TimePoint Now() const override { return TimePoint(now_.load()); }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult>) override {
    WorkEstimator estimator;
    double work = 0;
    for (const RowInput& row : rows) work += static_cast<double>(estimator.OfRow(row));
    const nanoseconds end =
        now_.load() + nanoseconds(static_cast<int64_t>(work * slowness_(now_.load())));
    row_time_ = (end - now_.load()) / rows.size();
    while (!events_.empty() && events_.begin()->first <= end) RunNext();
    now_ = end;
    sampled_rows_ += rows.size();
    return absl::OkStatus();
  }

 private:
  class Job;

  void At(nanoseconds when, std::function<void()> event) {
    if (when < kTime) events_.emplace(when, std::move(event));
  }

  void RunNext() {
    const auto event = events_.extract(events_.begin());
    now_ = std::max(now_.load(), event.key());
    event.mapped()();
  }

  // Makes a caller's next call.
  void Come();
  void End(const Job& job, const absl::Status& status);

  const nanoseconds deadline_;
  const Slowness slowness_;
  std::atomic<nanoseconds> now_{};
  std::multimap<nanoseconds, std::function<void()>> events_;
  nanoseconds row_time_{};  // of the batch that was sampled last
  nanoseconds useful_time_{};
  size_t under_way_ = 0;
  size_t useful_rows_ = 0;
  size_t sampled_rows_ = 0;
  bool is_over_ = false;
  std::promise<void> over_;
  Batcher batcher_;
};

class Simulation::Job final : public SamplingJob {
 public:
  Job(Simulation& simulation, TimePoint its_deadline) : simulation_(simulation) {
    RowInput row;
    row.vocab = kVocab;
    row.params = &params_;
    rows.assign(kRows, row);
    deadline = its_deadline;
  }

  void Done(const absl::Status& status) override {
    is_done = true;
    simulation_.End(*this, status);
  }

  bool is_done = false;

 private:
  Simulation& simulation_;
  const SamplingParams params_;
};

void Simulation::Come() {
  auto job = std::make_shared<Job>(*this, Now() + deadline_);
  ++under_way_;
  At(now_.load() + deadline_, [this, job] {
    if (!job->is_done) batcher_.Cancel(*job);
  });
  const absl::Status status = batcher_.Submit(job);
  if (!status.ok()) job->Done(status);
}

void Simulation::End(const Job& job, const absl::Status& status) {
  --under_way_;
  if (status.ok() && Now() <= job.deadline) {
    useful_rows_ += kRows;
    useful_time_ += kRows * row_time_;
  }
  At(std::max(now_.load() + std::chrono::microseconds(1), now_.load() + job.retry_after),
     [this] { Come(); });
  // Without a job the sampler would wait for ever, so the next event must happen now.
  while (under_way_ == 0 && !events_.empty()) RunNext();
  if (under_way_ == 0 && events_.empty() && !std::exchange(is_over_, true)) over_.set_value();
}

class OverloadTest : public testing::Test {
 protected:
  // Expects that 400 callers get as much done as 8, who keep the sampler busy.
  static void ExpectAsMuchFromMany(const Slowness& slowness) {
    const Simulation few(8, milliseconds(50), slowness);
    const Simulation many(400, milliseconds(50), slowness);
    EXPECT_GE(many.goodput(), 0.95 * few.goodput());
    EXPECT_GE(many.useful(), 0.95);
  }
};

TEST_F(OverloadTest, OfExactEstimates) {
  ExpectAsMuchFromMany([](nanoseconds) { return 1.0; });
}

TEST_F(OverloadTest, OfASamplerThatIsNowSlowerNowFaster) {
  ExpectAsMuchFromMany(
      [](nanoseconds now) { return (now / milliseconds(200)) % 2 == 0 ? 0.7 : 1.3; });
}

TEST_F(OverloadTest, OfASamplerThatBecomesSlowForAMoment) {
  ExpectAsMuchFromMany(
      [](nanoseconds now) { return (now / milliseconds(50)) % 10 == 0 ? 3.0 : 1.0; });
}

}  // namespace
}  // namespace token_sampler
