// Tests regions while calls read them: many at a time, while they are unregistered, and while
// owners take the memory away.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"
#include "tests/unit/server/region_fixture.h"

namespace token_sampler {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;

// The reference sampler behind a gate that the test opens.
class GatedReference final : public Sampler {
 public:
  absl::string_view name() const override { return "gated reference"; }
  std::string device() const override { return "a test"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    const absl::Status status = gate.Sample(rows, results);
    return status.ok() ? reference_->Sample(rows, results) : status;
  }

  GatedSampler gate;

 private:
  const std::unique_ptr<Sampler> reference_ = CreateReferenceSampler();
};

class RegionCallTest : public RegionServiceTest {
 protected:
  static constexpr size_t kPartValues = kRows * kVocab;
  static constexpr size_t kPartBytes = kPartValues * sizeof(float);

  RegionCallTest() {
    auto gated = std::make_unique<GatedReference>();
    gate_ = &gated->gate;
    sampler_ = std::move(gated);
    Start();
  }
  ~RegionCallTest() override { gate_->Open(); }

  // Makes a region of some parts with different rows, and the expected tokens of each.
  void Fill(size_t parts) {
    auto region = client::SharedRegion::Create(*client_, parts * kPartBytes);
    ASSERT_TRUE(region.ok()) << region.status();
    region_.emplace(*std::move(region));
    const std::vector<float> logits = RandomLogits(parts * kPartValues);
    std::memcpy(region_->data(), logits.data(), parts * kPartBytes);
    for (size_t part = 0; part < parts; ++part) {
      const auto first = logits.begin() + static_cast<int64_t>(part * kPartValues);
      const std::vector<float> rows(first, first + static_cast<int64_t>(kPartValues));
      expected_.push_back(Tokens(Request(client::Float32Matrix(rows, kVocab))));
    }
  }

  client::SampleRequest PartRequest(size_t part) const {
    return Request(region_->Rows(part * kPartBytes, client::DataType::kFloat32, kRows, kVocab));
  }

  std::future<absl::StatusOr<client::SampleResult>> Begin(size_t part) const {
    auto promise = std::make_shared<std::promise<absl::StatusOr<client::SampleResult>>>();
    client_->SampleAsync(PartRequest(part), [promise](absl::StatusOr<client::SampleResult> result) {
      promise->set_value(std::move(result));
    });
    return promise->get_future();
  }

  void ExpectTokens(const absl::StatusOr<client::SampleResult>& result, size_t part) const {
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<uint32_t> tokens;
    for (const auto& row : result->rows) tokens.push_back(row.token_ids.at(0));
    EXPECT_EQ(tokens, expected_[part]) << part;
  }

  v1::ListRegionsResponse Regions() const {
    grpc::ClientContext context;
    v1::ListRegionsResponse listed;
    EXPECT_TRUE(stub_->ListRegions(&context, {}, &listed).ok());
    return listed;
  }

  // Calls the server from several threads while `break_memory` runs. Answers are right until a call
  // fails, and calls that begin later fail.
  void ExpectErrorOnceBroken(const std::function<void()>& break_memory, const char* message) {
    constexpr int kThreads = 4;
    Fill(kThreads);
    std::atomic<int> answers = 0;
    std::atomic<bool> broken = false;
    std::vector<std::thread> callers;
    for (size_t part = 0; part < kThreads; ++part) {
      callers.emplace_back([&, part] {
        bool must_fail = false;
        absl::StatusOr<client::SampleResult> result = client_->Sample(PartRequest(part));
        while (result.ok() && !must_fail) {
          ExpectTokens(result, part);
          ++answers;
          must_fail = broken;
          result = client_->Sample(PartRequest(part));
        }
        EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
        EXPECT_THAT(std::string(result.status().message()), HasSubstr(message));
      });
    }
    EXPECT_TRUE(Eventually([&] { return answers >= 20 * kThreads; }));
    break_memory();
    broken = true;
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(client_->Sample(PartRequest(0)).status().code(),
              absl::StatusCode::kFailedPrecondition);
    const std::vector<float> rows(kPartValues, 1.0f);
    EXPECT_TRUE(client_->Sample(Request(client::Float32Matrix(rows, kVocab))).ok());
    EXPECT_TRUE(Unregister(region_->name()).ok());
  }

  int OpenObject(int flags) const {
    return shm_open(absl::StrCat("/", region_->name()).c_str(), O_RDWR | flags, 0600);
  }

  GatedSampler* gate_;
  std::optional<client::SharedRegion> region_;
  std::vector<std::vector<uint32_t>> expected_;  // [parts]
};

TEST_F(RegionCallTest, ManyCallsReadDisjointPartsAtOnce) {
  constexpr size_t kCalls = 48;
  Fill(kCalls);
  const size_t calls_before = gate_->batch_rows().size();
  gate_->Close();
  std::vector<std::future<absl::StatusOr<client::SampleResult>>> answers;
  answers.push_back(Begin(0));
  gate_->AwaitCalls(calls_before + 1);
  for (size_t part = 1; part < kCalls; ++part) answers.push_back(Begin(part));
  EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == kCalls - 1; }));
  ASSERT_EQ(Regions().regions_size(), 1);
  EXPECT_EQ(Regions().regions(0).calls_in_flight(), kCalls);
  gate_->Open();
  for (size_t part = 0; part < kCalls; ++part) ExpectTokens(answers[part].get(), part);
  EXPECT_EQ(Regions().regions(0).calls_in_flight(), 0u);
}

TEST_F(RegionCallTest, UnregisterAnswersWhenTheCallInFlightHas) {
  Fill(1);
  const std::string name = region_->name();
  const size_t calls_before = gate_->batch_rows().size();
  gate_->Close();
  auto sampled = Begin(0);
  gate_->AwaitCalls(calls_before + 1);
  ASSERT_EQ(Regions().regions_size(), 1);
  EXPECT_EQ(Regions().regions(0).calls_in_flight(), 1u);
  std::atomic<bool> opened = false;
  auto unregistered = std::async(std::launch::async, [&] {
    const grpc::Status status = Unregister(name);
    EXPECT_TRUE(opened) << "the region went before its reader";
    return status;
  });
  // The name is gone at once, the region only when its reader is done.
  EXPECT_TRUE(Eventually([this] { return Regions().regions_size() == 0; }));
  EXPECT_EQ(client_->Sample(PartRequest(0)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Unregister(name).error_code(), grpc::StatusCode::NOT_FOUND);
  opened = true;
  gate_->Open();
  ExpectTokens(sampled.get(), 0);
  EXPECT_TRUE(unregistered.get().ok());
}

TEST_F(RegionCallTest, AClientEndsBehindItsCallsThoughItsRegionGoesOn) {
  std::atomic<bool> answered = false;
  auto connected = client::SamplerClient::Connect(server_->addresses()[0]);
  ASSERT_TRUE(connected.ok()) << connected.status();
  std::optional<client::SamplerClient> client(*std::move(connected));
  auto region = client::SharedRegion::Create(*client, kPartBytes);
  ASSERT_TRUE(region.ok()) << region.status();
  gate_->Close();
  client->SampleAsync(Request(region->Rows(0, client::DataType::kFloat32, kRows, kVocab)),
                      [&](const absl::StatusOr<client::SampleResult>& result) {
                        EXPECT_TRUE(result.ok()) << result.status();
                        answered = true;
                      });
  gate_->AwaitCalls(1);
  const auto opened = std::async(std::launch::async, [this] { gate_->Open(); });
  client.reset();
  EXPECT_TRUE(answered) << "the client ended before its call";
}

TEST_F(RegionCallTest, TruncatingFailsTheCalls) {
  ExpectErrorOnceBroken(
      [this] {
        const int fd = OpenObject(0);
        EXPECT_EQ(ftruncate(fd, 10), 0);
        close(fd);
      },
      "was truncated");
}

// The rest of the last page reads as zeros, without a signal.
TEST_F(RegionCallTest, TruncatingInsideAPageFailsTheCalls) {
  ExpectErrorOnceBroken(
      [this] {
        const int fd = OpenObject(0);
        EXPECT_EQ(ftruncate(fd, 4 * kPartBytes - 1), 0);
        close(fd);
      },
      "was truncated");
}

TEST_F(RegionCallTest, UnlinkingFailsTheCalls) {
  ExpectErrorOnceBroken(
      [this] { EXPECT_EQ(shm_unlink(absl::StrCat("/", region_->name()).c_str()), 0); },
      "was unlinked or replaced");
}

TEST_F(RegionCallTest, ReplacingFailsTheCalls) {
  ExpectErrorOnceBroken(
      [this] {
        EXPECT_EQ(shm_unlink(absl::StrCat("/", region_->name()).c_str()), 0);
        const int fd = OpenObject(O_CREAT | O_EXCL);
        EXPECT_EQ(ftruncate(fd, 4 * kPartBytes), 0);
        close(fd);
      },
      "was unlinked or replaced");
}

}  // namespace
}  // namespace token_sampler
