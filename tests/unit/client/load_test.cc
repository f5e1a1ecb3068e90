// Tests the load tester: every call is recorded once, limits end it, and the report adds up.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "client/load/closed_loop.h"
#include "client/load/report.h"
#include "client/load/workload.h"
#include "tests/unit/client/fake_server.h"

namespace token_sampler::client {
namespace {

using testing::FakeServer;
using ::testing::HasSubstr;

// Answers each row with token 7, or every third call with `refusal`.
FakeServer::Answer Answering(std::atomic<uint64_t>& calls,
                             grpc::Status refusal = grpc::Status::OK) {
  return [&calls, refusal](const v1::SampleRequest& request, v1::SampleResponse* response) {
    if (++calls % 3 == 0 && !refusal.ok()) return refusal;
    for (uint32_t row = 0; row < request.tensor().rows(); ++row) {
      response->add_token_counts(1);
      response->add_token_ids(7);
      response->add_seeds(request.keys().seeds(0));
      response->add_steps(0);
      response->add_streams(row);
    }
    return grpc::Status::OK;
  };
}

Workload SmallWorkload() {
  WorkloadOptions options;
  options.rows = 2;
  options.vocab = 10;
  return *Workload::Create(options);
}

TEST(ClosedLoopTest, MakesAndRecordsExactlyTheCallsAskedFor) {
  std::atomic<uint64_t> answered = 0;
  const FakeServer server(Answering(answered));
  const SamplerClient client = *SamplerClient::Connect(server.address());
  const Workload workload = SmallWorkload();
  for (const int concurrency : {1, 7}) {
    answered = 0;
    Recorder recorder;
    RunClosedLoop(
        client, workload,
        {.concurrency = concurrency, .duration = absl::Hours(1), .max_calls = 100, .progress = {}},
        recorder);
    const Measurements measurements = recorder.Snapshot();
    EXPECT_EQ(answered, 100u);
    EXPECT_EQ(measurements.calls(), 100u);
    EXPECT_EQ(measurements.latency_ns.count(), 100u);
    EXPECT_EQ(measurements.rows, 200u);
    EXPECT_EQ(measurements.failed_calls, 0u);
  }
}

TEST(ClosedLoopTest, CountsErrorsByStatus) {
  std::atomic<uint64_t> answered = 0;
  const FakeServer server(
      Answering(answered, {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"}));
  const SamplerClient client = *SamplerClient::Connect(server.address());
  const Workload workload = SmallWorkload();
  Recorder recorder;
  RunClosedLoop(client, workload,
                {.concurrency = 4, .duration = absl::Hours(1), .max_calls = 30, .progress = {}},
                recorder);
  const Measurements measurements = recorder.Snapshot();
  EXPECT_EQ(answered, 30u);
  EXPECT_EQ(measurements.calls(), 20u);
  EXPECT_EQ(measurements.errors.at("RESOURCE_EXHAUSTED"), 10u);
  EXPECT_EQ(measurements.failed_calls, 10u);
  EXPECT_EQ(measurements.rows, 40u);
}

TEST(ClosedLoopTest, EndsAtItsDuration) {
  std::atomic<uint64_t> answered = 0;
  const FakeServer server(Answering(answered));
  const SamplerClient client = *SamplerClient::Connect(server.address());
  const Workload workload = SmallWorkload();
  Recorder recorder;
  const absl::Duration elapsed = RunClosedLoop(
      client, workload, {.concurrency = 2, .duration = absl::Milliseconds(60), .progress = {}},
      recorder);
  EXPECT_GE(elapsed, absl::Milliseconds(60));
  EXPECT_EQ(recorder.Snapshot().calls(), answered);
}

TEST(ClosedLoopTest, TellsItsProgress) {
  std::atomic<uint64_t> answered = 0;
  const FakeServer server(Answering(answered));
  const SamplerClient client = *SamplerClient::Connect(server.address());
  const Workload workload = SmallWorkload();
  Recorder recorder;
  int reports = 0;
  // The duration only ends a test that fails.
  RunClosedLoop(client, workload,
                {.concurrency = 2,
                 .duration = absl::Minutes(1),
                 .progress_every = absl::Milliseconds(10),
                 .progress = [&](absl::Duration) { ++reports; },
                 .stopped = [&] { return reports >= 2; }},
                recorder);
  EXPECT_GE(reports, 2);
}

TEST(ClosedLoopTest, PausesLongerAfterEachFailure) {
  std::atomic<uint64_t> answered = 0;
  const FakeServer server([&](const v1::SampleRequest&, v1::SampleResponse*) {
    ++answered;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
  });
  const SamplerClient client = *SamplerClient::Connect(server.address());
  const Workload workload = SmallWorkload();
  Recorder recorder;
  RunClosedLoop(client, workload,
                {.concurrency = 2, .duration = absl::Milliseconds(300), .progress = {}}, recorder);
  // Calls at 0, 10, 30, 70 and 150 ms or later.
  EXPECT_LE(answered, 2 * 5u);
  EXPECT_GE(answered, 2u);
  EXPECT_EQ(recorder.Snapshot().failed_calls, answered);
}

TEST(ClosedLoopTest, EndsWhenItIsToldTo) {
  for (const grpc::Status& status :
       {grpc::Status::OK, grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping")}) {
    std::atomic<uint64_t> answered = 0;
    const FakeServer server([&](const v1::SampleRequest& request, v1::SampleResponse* response) {
      ++answered;
      return status.ok() ? FakeServer::AnswerRowNumbers(request, response) : status;
    });
    const SamplerClient client = *SamplerClient::Connect(server.address());
    const Workload workload = SmallWorkload();
    Recorder recorder;
    RunClosedLoop(client, workload,
                  {.concurrency = 3,
                   .duration = absl::Hours(1),
                   .progress = {},
                   .stopped = [&] { return answered >= 3; }},
                  recorder);
    const Measurements measurements = recorder.Snapshot();
    EXPECT_EQ(measurements.calls() + measurements.failed_calls, answered);
  }
}

TEST(WorkloadTest, EveryElementTypeHoldsTheSameLogits) {
  const std::vector<uint8_t> f32 = GenerateLogits(DataType::kFloat32, 5000, 9);
  const std::vector<uint8_t> f64 = GenerateLogits(DataType::kFloat64, 5000, 9);
  const std::vector<uint8_t> f16 = GenerateLogits(DataType::kFloat16, 5000, 9);
  const std::vector<uint8_t> bf16 = GenerateLogits(DataType::kBFloat16, 5000, 9);
  std::set<float> distinct;
  for (size_t i = 0; i < 5000; ++i) {
    float expected;
    std::memcpy(&expected, &f32[i * 4], 4);
    distinct.insert(expected);
    double wide;
    std::memcpy(&wide, &f64[i * 8], 8);
    ASSERT_EQ(wide, expected);
    uint16_t upper;
    std::memcpy(&upper, &bf16[i * 2], 2);
    uint32_t bits;
    std::memcpy(&bits, &expected, 4);
    ASSERT_EQ(uint32_t{upper} << 16, bits);
    uint16_t half;
    std::memcpy(&half, &f16[i * 2], 2);
    const int exponent = (half >> 10) & 31;
    const double magnitude =
        half == 0 ? 0.0 : std::ldexp(1.0 + (half & 0x3ff) / 1024.0, exponent - 15);
    ASSERT_EQ((half & 0x8000) != 0 ? -magnitude : magnitude, expected);
  }
  EXPECT_GT(distinct.size(), 100u);
}

TEST(WorkloadTest, RefusesWhatCannotBeSent) {
  WorkloadOptions options;
  options.rows = 100'000;
  options.vocab = 100'000;
  const absl::Status status = Workload::Create(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--rows 100000 x --vocab 100000"));
}

Measurements ThreeCalls() {
  Recorder recorder;
  SampleResult good;
  good.rows.resize(4);
  good.rows[3].code = RowCode::kNan;
  recorder.Record(absl::Milliseconds(1), 1000, good);
  recorder.Record(absl::Milliseconds(3), 1000, good);
  recorder.Record(absl::Milliseconds(9), 1000, absl::UnavailableError("gone"));
  return recorder.Snapshot();
}

TEST(LoadReportTest, JsonAddsUp) {
  const auto json = nlohmann::json::parse(LoadJson(ThreeCalls(), absl::Seconds(2)));
  EXPECT_EQ(json["calls"], 2);
  EXPECT_EQ(json["rows"], 6);
  EXPECT_EQ(json["bytes"], 2000);
  EXPECT_EQ(json["failed_rows"], 2);
  EXPECT_EQ(json["failed_calls"], 1);
  EXPECT_EQ(json["errors"]["UNAVAILABLE"], 1);
  EXPECT_DOUBLE_EQ(json["calls_per_s"], 1);
  EXPECT_DOUBLE_EQ(json["rows_per_s"], 3);
  EXPECT_NEAR(json["latency_ms"]["p50"], 1.0, 1.0 / 512);
  EXPECT_DOUBLE_EQ(json["latency_ms"]["max"], 3);
}

TEST(LoadReportTest, TableNamesErrorsAndFailedRows) {
  const std::string table = LoadTable(ThreeCalls(), absl::Seconds(2));
  EXPECT_THAT(table, HasSubstr("UNAVAILABLE 1"));
  EXPECT_THAT(table, HasSubstr("2 rows failed"));
  EXPECT_THAT(table, HasSubstr("p99.9"));
}

// Calls to a server that is gone fail at once.
TEST(LoadReportTest, CallsThatFailedAreNoThroughput) {
  Recorder recorder;
  for (int i = 0; i < 1000; ++i) {
    recorder.Record(absl::Milliseconds(1), 1000, absl::UnavailableError("gone"));
  }
  EXPECT_EQ(LoadTable(recorder.Snapshot(), absl::Seconds(1)),
            "1.00 s\n"
            "calls                  0                 0 /s\n"
            "rows                   0                 0 /s\n"
            "bytes                  0                 0 /s\n"
            "latency  none: no call succeeded\n"
            "errors   UNAVAILABLE 1000\n");
  EXPECT_THAT(LoadProgress(recorder.Snapshot(), absl::Seconds(1)),
              AllOf(HasSubstr(" 0 calls/s"), HasSubstr("failed 1000\n")));
}

}  // namespace
}  // namespace token_sampler::client
