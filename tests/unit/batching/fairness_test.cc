// Tests in which order clients are sampled, and who gets a place in the queue.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/batching/batcher.h"
#include "tests/testing/batcher_jobs.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

// A plain row of 100,000 tokens takes about 60 us: 30 of them fill a slice of 2 ms.
constexpr int64_t kVocab = 100'000;

class FairnessTest : public testing::Test {
 protected:
  // Makes a batcher whose executor is busy with a row until sampler_.Open().
  Batcher& StartBusy(const BatcherOptions& options) {
    batcher_.emplace(sampler_, options, clock_);
    sampler_.Close();
    EXPECT_TRUE(batcher_->Submit(MakeJob(1)).ok());
    sampler_.AwaitCalls(1);
    return *batcher_;
  }

  std::shared_ptr<TestJob> Submit(const std::string& client, const std::string& connection,
                                  size_t rows, uint64_t first_step, int64_t vocab = 1) {
    return Submit(CallIdentity{.client = client, .connection = connection}, rows, first_step,
                  vocab);
  }

  std::shared_ptr<TestJob> Submit(const CallIdentity& identity, size_t rows, uint64_t first_step,
                                  int64_t vocab = 1) {
    auto job = MakeJob(rows, first_step, vocab);
    job->identity = identity;
    const absl::Status status = batcher_->Submit(job);
    EXPECT_TRUE(status.ok()) << status;
    return job;
  }

  // Returns the number of the batch with the row of this step.
  size_t BatchOf(uint64_t step) const {
    const auto batches = sampler_.batch_steps();
    const auto found = std::find_if(batches.begin(), batches.end(), [step](const auto& batch) {
      return std::find(batch.begin(), batch.end(), step) != batch.end();
    });
    return static_cast<size_t>(found - batches.begin());
  }

  void TearDown() override { sampler_.Open(); }

  GatedSampler sampler_;
  FakeClock clock_;
  std::optional<Batcher> batcher_;
};

TEST_F(FairnessTest, ClientsTakeTurnsHoweverMuchOneOfThemSends) {
  StartBusy({.max_batch_rows = 2});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 5; ++i) jobs.push_back(Submit("greedy", "1", 2, 100 + 2 * i));
  jobs.push_back(Submit("polite", "2", 2, 7));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(sampler_.batch_steps()[2], ElementsAre(7, 8));
}

TEST_F(FairnessTest, ClientsHaveEvenSharesHoweverManyConnectionsTheyOpen) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 6; ++i) jobs.push_back(Submit("greedy", std::to_string(i), 1, 100 + i));
  for (uint64_t i = 0; i < 3; ++i) jobs.push_back(Submit("polite", "9", 1, i + 1));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  const auto batches = sampler_.batch_steps();
  EXPECT_THAT(batches[2], ElementsAre(1));
  EXPECT_THAT(batches[4], ElementsAre(2));
  EXPECT_THAT(batches[6], ElementsAre(3));
}

TEST_F(FairnessTest, ConnectionsOfAClientTakeTurns) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 5; ++i) jobs.push_back(Submit("client", "1", 1, 100 + i));
  jobs.push_back(Submit("client", "2", 1, 7));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  EXPECT_THAT(sampler_.batch_steps()[2], ElementsAre(7));
}

TEST_F(FairnessTest, OneWhoHasBeenQuietSavesNoTime) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 4; ++i) jobs.push_back(Submit("first", "1", 1, 100 + i));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  sampler_.Close();
  jobs = {Submit("first", "1", 1, 99)};
  sampler_.AwaitCalls(6);
  for (uint64_t i = 0; i < 3; ++i) jobs.push_back(Submit("late", "2", 1, 200 + i));
  for (uint64_t i = 0; i < 3; ++i) jobs.push_back(Submit("first", "1", 1, 300 + i));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  const auto batches = sampler_.batch_steps();
  EXPECT_THAT(batches[6], ElementsAre(200));
  EXPECT_THAT(batches[7], ElementsAre(300));
  EXPECT_THAT(batches[8], ElementsAre(201));
}

TEST_F(FairnessTest, AClientsShareIsProportionalToItsWeight) {
  StartBusy({.max_batch_rows = 1, .client_weights = {{"heavy", 3.0}, {"light", 0.5}}});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 60; ++i) {
    for (const auto& [client, first] :
         {std::pair("heavy", 1000), {"plain", 2000}, {"light", 3000}}) {
      jobs.push_back(Submit(client, client, 1, static_cast<uint64_t>(first) + i));
    }
  }
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  // The first 45 rows after the one that kept the executor busy.
  std::map<uint64_t, int> rows;
  const auto batches = sampler_.batch_steps();
  for (size_t i = 1; i <= 45; ++i) ++rows[batches[i][0] / 1000];
  EXPECT_THAT(rows, ElementsAre(Pair(1, 30), Pair(2, 10), Pair(3, 5)));
}

TEST_F(FairnessTest, AClientsUrgentJobsOvertakeItsOthers) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 6; ++i) jobs.push_back(Submit("client", "1", 1, 100 + i));
  for (uint64_t i = 0; i < 3; ++i) {
    jobs.push_back(Submit({.client = "client", .connection = "2", .priority = 3}, 1, 7 + i));
  }
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  // The first one already had its turn when they came.
  EXPECT_EQ(BatchOf(100), 1);
  EXPECT_EQ(BatchOf(7), 2);
  EXPECT_EQ(BatchOf(9), 4);
}

TEST_F(FairnessTest, AJobOfLowPriorityGetsOnHoweverManyUrgentOnesCome) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 80; ++i) {
    jobs.push_back(Submit({.client = "client", .connection = "1", .priority = 3}, 1, 100 + i));
  }
  for (uint64_t i = 0; i < 8; ++i) jobs.push_back(Submit("client", "1", 1, i + 1));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  // Gets one batch of nine.
  for (uint64_t i = 0; i < 8; ++i) EXPECT_LE(BatchOf(i + 1), 2 + 9 * i + 1);
  EXPECT_GE(BatchOf(8), 60);
}

TEST_F(FairnessTest, APriorityTakesNothingFromOtherClients) {
  StartBusy({.max_batch_rows = 1});
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (uint64_t i = 0; i < 10; ++i) {
    jobs.push_back(Submit({.client = "urgent", .connection = "1", .priority = 7}, 1, 100 + i));
  }
  for (uint64_t i = 0; i < 5; ++i) jobs.push_back(Submit("other", "2", 1, i + 1));
  sampler_.Open();
  for (const auto& job : jobs) EXPECT_TRUE(job->Await().ok());
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(BatchOf(i + 1), 2 * i + 2);
}

TEST_F(FairnessTest, AJobLongerThanASliceIsCutAndOthersGoBetween) {
  StartBusy({});
  const auto large = Submit("greedy", "1", 200, 1000, kVocab);
  const auto small = Submit("polite", "2", 1, 7);
  sampler_.Open();
  EXPECT_TRUE(large->Await().ok());
  EXPECT_TRUE(small->Await().ok());
  const std::vector<uint32_t> tokens = large->tokens();
  ASSERT_EQ(tokens.size(), 200);
  for (uint32_t i = 0; i < 200; ++i) EXPECT_EQ(tokens[i], 1000 + i);
  const auto batches = sampler_.batch_steps();
  ASSERT_GT(batches.size(), 5);
  for (const auto& batch : batches) EXPECT_LE(batch.size(), 60);
  EXPECT_LE(BatchOf(7), 2);
  EXPECT_EQ(batcher_->counters().rows, 202);
}

TEST_F(FairnessTest, AShortJobDoesNotWaitForTheLongOnesOfItsOwnConnection) {
  StartBusy({});
  const auto large = Submit("client", "1", 500, 1000, kVocab);
  const auto larger = Submit("client", "1", 500, 2000, kVocab);
  const auto small = Submit("client", "1", 1, 7);
  sampler_.Open();
  for (const auto& job : {large, larger, small}) EXPECT_TRUE(job->Await().ok());
  EXPECT_LE(BatchOf(7), 2);
}

TEST_F(FairnessTest, ACancelledJobIsNotSampledAnyFurther) {
  StartBusy({});
  const auto large = Submit("client", "1", 200, 1000, kVocab);
  sampler_.LetOnePass();
  sampler_.AwaitCalls(2);
  batcher_->Cancel(*large);
  EXPECT_EQ(large->times_done(), 0);
  sampler_.Open();
  EXPECT_EQ(large->Await().code(), absl::StatusCode::kCancelled);
  batcher_->Stop();
  EXPECT_EQ(sampler_.batch_rows().size(), 2);
  EXPECT_EQ(large->times_done(), 1);
}

TEST_F(FairnessTest, AnErrorOfAPieceIsThatOfItsJob) {
  StartBusy({});
  const auto large = Submit("client", "1", 200, 1000, kVocab);
  sampler_.LetOnePass();
  sampler_.AwaitCalls(2);
  sampler_.FailNext(absl::InternalError("the device is gone"));
  sampler_.Open();
  EXPECT_EQ(large->Await(), absl::InternalError("the device is gone"));
  batcher_->Stop();
  EXPECT_EQ(sampler_.batch_rows().size(), 2);
}

TEST_F(FairnessTest, AFullQueueHasRoomForWhoHoldsLess) {
  StartBusy({.max_queued_rows = 6});
  const auto older = Submit("greedy", "1", 3, 10);
  const auto newer = Submit("greedy", "1", 3, 20);
  const auto polite = Submit("polite", "2", 1, 7);
  EXPECT_EQ(newer->Await().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(newer->retry_after, milliseconds(5));

  // Neither holds less than the other would, so nobody is pushed out.
  const auto refused = MakeJob(4);
  refused->identity = {"polite", "2"};
  EXPECT_EQ(batcher_->Submit(refused).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(older->times_done(), 0);
  sampler_.Open();
  EXPECT_TRUE(older->Await().ok());
  EXPECT_TRUE(polite->Await().ok());
  EXPECT_EQ(batcher_->counters().refused, 1);
}

TEST_F(FairnessTest, PlacesInAFullQueueFollowTheWeights) {
  StartBusy({.max_queued_rows = 8, .client_weights = {{"heavy", 3.0}}});
  const auto heavy = Submit("heavy", "1", 4, 10);
  const auto other = Submit("other", "2", 4, 20);
  // Its weight allows it 6 of 8 rows, so 1 more is within its share.
  const auto more = Submit("heavy", "1", 1, 30);
  ASSERT_EQ(other->times_done(), 1);
  EXPECT_EQ(other->Await().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(heavy->times_done(), 0);
  sampler_.Open();
  EXPECT_TRUE(more->Await().ok());
}

TEST_F(FairnessTest, AClientHoldsNoMoreOfTheQueueThanItsOwnLimit) {
  StartBusy({.max_queued_rows_per_client = 4, .max_queued_bytes_per_client = 3});
  const auto first = Submit("client", "1", 3, 10);
  const auto too_many_rows = MakeJob(2);
  too_many_rows->identity = {.client = "client", .connection = "2"};
  too_many_rows->bytes = 0;
  EXPECT_EQ(batcher_->Submit(too_many_rows),
            absl::ResourceExhaustedError("the client's part of the queue is full: with this call "
                                         "it would hold 5 of at most 4 rows"));
  EXPECT_GE(too_many_rows->retry_after, milliseconds(5));
  const auto too_many_bytes = MakeJob(1);
  too_many_bytes->identity = {.client = "client", .connection = "2"};
  EXPECT_EQ(batcher_->Submit(too_many_bytes),
            absl::ResourceExhaustedError("the client's part of the queue is full: with this call "
                                         "it would hold 4 of at most 3 bytes"));
  milliseconds retry_after{0};
  EXPECT_EQ(batcher_->CheckRoom({"client", "2"}, retry_after).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_GE(retry_after, milliseconds(5));
  EXPECT_TRUE(batcher_->CheckRoom({"other", "3"}, retry_after).ok());
  // As with the queue's limit, a job beyond the limit is accepted if nothing waits.
  const auto other = Submit("other", "3", 9, 20);
  sampler_.Open();
  EXPECT_TRUE(first->Await().ok());
  EXPECT_TRUE(other->Await().ok());
}

TEST_F(FairnessTest, SaysBeforeARequestIsReadThatThereIsNoRoom) {
  StartBusy({.max_queued_rows = 4});
  milliseconds retry_after{0};
  EXPECT_TRUE(batcher_->CheckRoom({"greedy", "1"}, retry_after).ok());
  const auto waiting = Submit("greedy", "1", 4, 10);
  EXPECT_EQ(batcher_->CheckRoom({"greedy", "1"}, retry_after).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_GE(retry_after, milliseconds(5));
  EXPECT_TRUE(batcher_->CheckRoom({"polite", "2"}, retry_after).ok());
  EXPECT_EQ(waiting->times_done(), 0);
}

TEST_F(FairnessTest, RefusesWhatWouldBeTooLateOnlyIfSomethingWaits) {
  StartBusy({});
  const auto hopeless = [&] {
    auto job = MakeJob(1'000, 0, kVocab);  // 60 ms
    job->identity = {"client", "1"};
    job->deadline = TimePoint(milliseconds(20));
    return job;
  };
  auto job = hopeless();
  EXPECT_TRUE(batcher_->Submit(job).ok());
  auto late = hopeless();
  const absl::Status status = batcher_->Submit(late);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("its deadline is in 20 ms"));
  EXPECT_GE(late->retry_after, milliseconds(5));
  late->deadline = TimePoint(milliseconds(1000));
  EXPECT_TRUE(batcher_->Submit(late).ok());
}

TEST_F(FairnessTest, DropsUnsampledWhatCannotBeDoneInTime) {
  StartBusy({});
  const auto late = MakeJob(500, 1000, kVocab);  // 30 ms
  late->deadline = TimePoint(milliseconds(50));
  const auto other = MakeJob(1, 7);
  ASSERT_TRUE(batcher_->Submit(late).ok());
  ASSERT_TRUE(batcher_->Submit(other).ok());
  clock_.AddMilliseconds(40);
  sampler_.Open();
  EXPECT_EQ(late->Await().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(other->Await().ok());
  EXPECT_EQ(batcher_->counters().rows, 2);
}

TEST_F(FairnessTest, TellsTheRefusedToComeBackOneAfterTheOther) {
  StartBusy({.max_queued_rows = 1000});
  const auto waiting = Submit("client", "1", 1000, 0, kVocab);  // 60 ms
  milliseconds before{0};
  for (int i = 0; i < 3; ++i) {
    const auto job = MakeJob(1000, 0, kVocab);
    job->identity = {"client", "1"};
    ASSERT_EQ(batcher_->Submit(job).code(), absl::StatusCode::kResourceExhausted);
    // The time of half of what waits, then also that of the refused jobs before this one.
    EXPECT_GT(job->retry_after, before + milliseconds(25));
    EXPECT_LT(job->retry_after, before + milliseconds(150));
    before = job->retry_after;
  }
  for (int i = 0; i < 100; ++i) {
    const auto job = MakeJob(1000, 0, kVocab);
    job->identity = {"client", "1"};
    ASSERT_FALSE(batcher_->Submit(job).ok());
    before = job->retry_after;
  }
  EXPECT_EQ(before, milliseconds(5000));
  EXPECT_EQ(waiting->times_done(), 0);
}

TEST_F(FairnessTest, TellsTheRefusedToComeLessOftenWhileTheQueueNeverEmpties) {
  StartBusy({.max_queued_rows = 1000});
  Submit("client", "1", 1000, 0, kVocab);  // 60 ms
  const auto told = [&] {
    const auto job = MakeJob(1000, 0, kVocab);
    job->identity = {"client", "1"};
    EXPECT_EQ(batcher_->Submit(job).code(), absl::StatusCode::kResourceExhausted);
    return job->retry_after;
  };
  const milliseconds first = told();
  const milliseconds place = told() - first;
  clock_.AddMilliseconds(10'000);  // all promised times have passed
  const milliseconds first_later = told();
  const milliseconds places = told() - first_later;
  // Both are rounded to a millisecond.
  EXPECT_GE(places + milliseconds(4), 4 * place);
  EXPECT_LE(places, 4 * place + milliseconds(4));
}

TEST_F(FairnessTest, IsStuckWhileWorkWaitsAndNothingGoesOn) {
  batcher_.emplace(sampler_, BatcherOptions(), clock_);
  EXPECT_FALSE(batcher_->StuckSince().has_value());
  clock_.SetSeconds(3);
  StartBusy({});
  EXPECT_FALSE(batcher_->StuckSince().has_value());
  clock_.SetSeconds(4);
  const auto waiting = Submit("client", "1", 1, 7);
  clock_.SetSeconds(9);
  EXPECT_EQ(batcher_->StuckSince(), TimePoint(std::chrono::seconds(4)));
  sampler_.Open();
  EXPECT_TRUE(waiting->Await().ok());
  EXPECT_FALSE(batcher_->StuckSince().has_value());
}

}  // namespace
}  // namespace token_sampler
