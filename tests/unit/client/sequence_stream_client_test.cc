// Tests streams of sequences through the client library, against the service in this process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"
#include "token_sampler/sequence_stream.h"

namespace token_sampler::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::token_sampler::testing::Eventually;

constexpr uint32_t kVocab = 16;

std::vector<float> Logits(uint64_t step) {
  std::vector<float> logits(kVocab);
  for (uint32_t id = 0; id < kVocab; ++id) {
    logits[id] = static_cast<float>((id * 7 + step * 5) % 11) / 4;
  }
  return logits;
}

template <typename AnySampler>
class StreamClientTest : public ::testing::Test {
 protected:
  explicit StreamClientTest(std::unique_ptr<AnySampler> sampler)
      : sampler_(std::move(sampler)),
        server_(*Server::Start(Loopback(), *sampler_)),
        client_(*SamplerClient::Connect(server_->addresses()[0])),
        stream_(client_.OpenStream()) {}

  static ServerOptions Loopback() {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    return options;
  }

  // Makes a step with the same row for each sequence.
  absl::StatusOr<StepResult> Step(SequenceStream& stream, const std::vector<uint64_t>& ids,
                                  uint64_t step) {
    std::vector<float> rows;
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::vector<float> row = Logits(step);
      rows.insert(rows.end(), row.begin(), row.end());
    }
    StepRequest request;
    request.sequence_ids = ids;
    request.matrix = Float32Matrix(rows, kVocab);
    return stream.Step(request);
  }

  std::unique_ptr<AnySampler> sampler_;
  std::unique_ptr<Server> server_;
  SamplerClient client_;
  SequenceStream stream_;
};

class SequenceStreamClientTest : public StreamClientTest<Sampler> {
 protected:
  SequenceStreamClientTest() : StreamClientTest(CreateReferenceSampler()) {}
};

// Returns the tokens of two sequences with a penalty and a state each, sampled by single calls.
std::vector<std::vector<uint32_t>> SingleCalls(const SamplerClient& client,
                                               const std::vector<SamplingParams>& params,
                                               uint64_t steps) {
  std::vector<std::vector<uint32_t>> tokens;
  for (const SamplingParams& own : params) {
    SampleRequest request;
    request.params = {own};
    request.keys.seeds = {5};
    request.keys.streams = {3};
    request.histories = {{.prompt_ids = {1, 2}}};
    for (uint64_t step = 0; step < steps; ++step) {
      const std::vector<float> logits = Logits(step);
      request.matrix = Float32Matrix(logits, kVocab);
      request.keys.steps = {step};
      const absl::StatusOr<SampleResult> result = client.Sample(request);
      EXPECT_TRUE(result.ok()) << result.status();
      request.states = {result->rows[0].state};
      request.histories[0].output_ids.push_back(result->rows[0].token_ids[0]);
    }
    tokens.push_back(request.histories[0].output_ids);
  }
  return tokens;
}

TEST_F(SequenceStreamClientTest, DrawsTheTokensOfSingleCallsAcrossABrokenStream) {
  const std::vector<SamplingParams> params = {{.frequency_penalty = 2.0},
                                              {.mirostat = Mirostat{.tau = 2.0}}};
  const auto expected = SingleCalls(client_, params, 8);
  OpenRequest open;
  open.vocab = kVocab;
  open.params = params;
  for (uint32_t i = 0; i < 2; ++i) {
    open.sequences.push_back(
        {.sequence_id = 70 + i, .params = i, .seed = 5, .stream = 3, .prompt_ids = {1, 2}});
  }
  for (uint64_t step = 0; step < 8; ++step) {
    if (step == 0 || step == 4) {
      stream_ = client_.OpenStream();
      const auto opened = stream_.Open(open);
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_THAT(opened->seeds, ElementsAre(5, 5));
      EXPECT_THAT(opened->skipped_ids, IsEmpty());
    }
    const absl::StatusOr<StepResult> result = Step(stream_, {70, 71}, step);
    ASSERT_TRUE(result.ok()) << result.status();
    for (size_t i = 0; i < 2; ++i) {
      const RowResult& row = result->sampled.rows[i];
      EXPECT_THAT(row.token_ids, ElementsAre(expected[i][step])) << "step " << step;
      open.sequences[i].output_ids.push_back(row.token_ids[0]);
      open.sequences[i].state = row.state;
    }
  }
}

TEST_F(SequenceStreamClientTest, SkipsUnknownIdsWhenThatIsAsked) {
  OpenRequest open = {.vocab = kVocab,
                      .sequences = {{.sequence_id = 1, .prompt_ids = {3, kVocab, 99}},
                                    {.sequence_id = 2, .output_ids = {4, 100}}}};
  EXPECT_THAT(std::string(stream_.Open(open).status().message()),
              HasSubstr("open.sequences[0].prompt_ids[1] "));
  open.skip_unknown_ids = true;
  const absl::StatusOr<OpenResult> opened = stream_.Open(open);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->skipped_ids, ElementsAre(2, 1));
  EXPECT_TRUE(Step(stream_, {1, 2}, 0).ok());
}

TEST_F(SequenceStreamClientTest, ForksRollsBackAndCloses) {
  ASSERT_TRUE(stream_.Open({.vocab = kVocab, .sequences = {{.sequence_id = 1, .seed = 9}}}).ok());
  const auto first = Step(stream_, {1}, 0);
  ASSERT_TRUE(stream_.Rollback(1, 1).ok());
  const auto again = Step(stream_, {1}, 0);
  EXPECT_EQ(first->sampled.rows[0].token_ids, again->sampled.rows[0].token_ids);
  ASSERT_TRUE(stream_.Fork(1, 2).ok());
  ASSERT_TRUE(stream_.Fork(1, 3, 0).ok());
  const auto forked = Step(stream_, {1, 2, 3}, 1);
  ASSERT_TRUE(forked.ok()) << forked.status();
  EXPECT_EQ(forked->sampled.rows[1].stream, 1u);
  EXPECT_EQ(forked->sampled.rows[2].stream, 0u);
  EXPECT_EQ(forked->sampled.rows[0].token_ids, forked->sampled.rows[2].token_ids);
  ASSERT_TRUE(stream_.Close({1, 2}).ok());
  const absl::Status closed = Step(stream_, {1}, 2).status();
  EXPECT_EQ(closed.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(closed.message()), HasSubstr("sequence 1 "));
  EXPECT_TRUE(Step(stream_, {3}, 2).ok());
}

TEST_F(SequenceStreamClientTest, SendsMasksKindsAndOutputs) {
  ASSERT_TRUE(stream_
                  .Open({.vocab = 3,
                         .params = {{.stop_ids = {1}}},
                         .sequences = {{.sequence_id = 4, .step = 30}}})
                  .ok());
  const std::vector<double> weights = {5, 1, 5};
  StepRequest request;
  request.sequence_ids = {4};
  request.matrix = Float64Matrix(weights, 3);
  request.kind = InputKind::kWeights;
  request.bitmask = std::string("\x02\0\0\0", 4);
  request.outputs.kept_count = true;
  const absl::StatusOr<StepResult> result = stream_.Step(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->sampled.rows[0].token_ids, ElementsAre(1));
  EXPECT_EQ(result->sampled.rows[0].step, 30u);
  EXPECT_EQ(result->sampled.rows[0].kept_count, 1u);
  EXPECT_THAT(result->finished, ElementsAre(4));
}

TEST_F(SequenceStreamClientTest, ARefusalLeavesTheStream) {
  const absl::Status refused = stream_.Open({.vocab = 2}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("open.sequences "));
  StepRequest malformed;
  EXPECT_THAT(stream_.Step(malformed).status().message(), HasSubstr("matrix.vocab"));
  EXPECT_FALSE(stream_.broken());
  EXPECT_TRUE(stream_.Open({.vocab = 2, .sequences = {{}}}).ok());
}

TEST_F(SequenceStreamClientTest, ABrokenStreamSaysWhy) {
  ASSERT_TRUE(stream_.Open({.vocab = kVocab, .sequences = {{}}}).ok());
  server_->Stop(std::chrono::hours(1));
  for (int call = 0; call < 2; ++call) {
    const absl::Status status = Step(stream_, {0}, 0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(status.message(), HasSubstr("the server is shutting down"));
  }
  EXPECT_TRUE(stream_.broken());
}

TEST_F(SequenceStreamClientTest, NobodyThere) {
  server_.reset();
  EXPECT_EQ(stream_.Open({.vocab = 2, .sequences = {{}}}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(stream_.broken());
}

TEST_F(SequenceStreamClientTest, RefusesARequestBeyondItsLimit) {
  const SamplerClient small =
      *SamplerClient::Connect(server_->addresses()[0], {.max_message_bytes = 60});
  SequenceStream stream = small.OpenStream();
  ASSERT_TRUE(stream.Open({.vocab = kVocab, .sequences = {{}}}).ok());
  EXPECT_THAT(Step(stream, {0}, 0).status().message(), HasSubstr("max_message_bytes is 60"));
  EXPECT_TRUE(stream.Close({0}).ok());
}

class GatedStreamClientTest : public StreamClientTest<GatedSampler> {
 protected:
  GatedStreamClientTest() : StreamClientTest(std::make_unique<GatedSampler>()) {}
  ~GatedStreamClientTest() override { sampler_->Open(); }
};

TEST_F(GatedStreamClientTest, AnAnswerThatTakesTooLongBreaksTheStream) {
  const OpenRequest open = {.vocab = kVocab, .sequences = {{}}};
  // On a slow machine opening may take too long as well: then with twice the time.
  absl::Duration timeout = absl::Milliseconds(50);
  std::optional<SamplerClient> client;
  ASSERT_TRUE(Eventually([&] {
    timeout *= 2;
    client.emplace(*SamplerClient::Connect(server_->addresses()[0], {.timeout = timeout}));
    stream_ = client->OpenStream();
    return stream_.Open(open).ok();
  }));
  sampler_->Close();
  const absl::Status status = Step(stream_, {0}, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("within " + absl::FormatDuration(timeout)));
  EXPECT_TRUE(stream_.broken());
  sampler_->Open();
  EXPECT_TRUE(Eventually([&] {
    stream_ = client->OpenStream();
    return stream_.Open(open).ok();
  }));
}

}  // namespace
}  // namespace token_sampler::client
