// Tests what a stream of sequences refuses and what breaks it: no sequence changes, and nothing is
// left behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"
#include "tests/testing/sequence_streams.h"

namespace token_sampler::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Refusal {
  const char* name;
  const char* request;
  absl::StatusCode code;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class StreamFaultTest : public StreamTest<Sampler> {
 protected:
  StreamFaultTest() : StreamTest(CreateReferenceSampler()) {}
};

class StreamRefusalTest : public StreamFaultTest, public ::testing::WithParamInterface<Refusal> {};

// Sequences 0 and 7 are open.
TEST_P(StreamRefusalTest, SaysWhyAndGoesOn) {
  const std::vector<Tokens> expected = Expected({0, 7}, 1);
  Stream stream(*stub_);
  stream.Do(OpenRequest({0, 7}));
  const uint64_t bytes = server_->sequence_bytes();
  v1::SampleStreamRequest request = Parse(GetParam().request);
  if (request.has_step() && request.step().has_tensor()) {
    v1::Tensor& tensor = *request.mutable_step()->mutable_tensor();
    tensor.mutable_data()->resize(tensor.rows() * tensor.vocab() * sizeof(float));
  }
  EXPECT_THAT(Message(stream.Call(request), GetParam().code), HasSubstr(GetParam().message));
  EXPECT_EQ(stream.Step({0, 7}, 0), expected[0]);
  // Steps make room for tokens, but nothing else was opened.
  EXPECT_LE(server_->sequence_bytes(), bytes + 1000);
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

INSTANTIATE_TEST_SUITE_P(
    Requests, StreamRefusalTest,
    ::testing::Values(
        Refusal{"empty", "", kInvalid, "request must be set: open, step, fork, rollback or close"},
        Refusal{"open_vocab", "open { sequences { sequence_id: 1 } }", kInvalid,
                "open.vocab must be in [1, 16777216], got 0"},
        Refusal{"open_none", "open { vocab: 9 }", kInvalid,
                "open.sequences must have at least one entry"},
        Refusal{"open_no_id", "open { vocab: 9 sequences {} }", kInvalid,
                "open.sequences[0].sequence_id must be set"},
        Refusal{"open_again", "open { vocab: 9 sequences { sequence_id: 7 } }",
                absl::StatusCode::kAlreadyExists, "sequence 7 is open already"},
        Refusal{"open_twice",
                "open { vocab: 9 sequences { sequence_id: 1 } sequences { sequence_id: 1 } }",
                absl::StatusCode::kAlreadyExists, "open.sequences[1] opens sequence 1 again"},
        Refusal{"open_profile", "open { vocab: 9 sequences { sequence_id: 1 params: 1 } }",
                kInvalid,
                "open.sequences[0].params must be an index into params, of which there are 1"},
        Refusal{"open_range", "open { vocab: 9 params { top_p: 2 } sequences { sequence_id: 1 } }",
                kInvalid, "open.params[0].top_p "},
        Refusal{"open_samples",
                "open { vocab: 9 params { num_samples: 2 } sequences { sequence_id: 1 } }",
                kInvalid, "open.params[0].num_samples must be 1, got 2"},
        Refusal{"open_prompt", "open { vocab: 9 sequences { sequence_id: 1 prompt_ids: [8, 9] } }",
                kInvalid,
                "open.sequences[0].prompt_ids[1] must be below the vocabulary of 9, got 9"},
        Refusal{"open_output", "open { vocab: 9 sequences { sequence_id: 1 output_ids: 10 } }",
                kInvalid, "open.sequences[0].output_ids[0] must be below"},
        Refusal{"step_no_tensor", "step { sequence_ids: 7 }", kInvalid, "step.tensor must be set"},
        Refusal{"step_unknown",
                "step { sequence_ids: [0, 5] tensor { dtype: DATA_TYPE_FLOAT32 rows: 2 vocab: 24 "
                "data: '' } }",
                absl::StatusCode::kNotFound, "sequence 5 is not open"},
        Refusal{"step_count",
                "step { sequence_ids: 0 tensor { dtype: DATA_TYPE_FLOAT32 rows: 2 vocab: 24 "
                "data: '' } }",
                kInvalid, "step.sequence_ids must have one entry per row (2), got 1"},
        Refusal{"step_twice",
                "step { sequence_ids: [7, 7] tensor { dtype: DATA_TYPE_FLOAT32 rows: 2 vocab: 24 "
                "data: '' } }",
                kInvalid, "step.sequence_ids must not name sequence 7 twice"},
        Refusal{"step_vocab",
                "step { sequence_ids: 7 tensor { dtype: DATA_TYPE_FLOAT32 rows: 1 vocab: 23 "
                "data: '' } }",
                kInvalid,
                "step.tensor.vocab must be the 24 that sequence 7 was opened with, got 23"},
        Refusal{"step_bitmask",
                "step { sequence_ids: 7 bitmask {} tensor { dtype: DATA_TYPE_FLOAT32 rows: 1 "
                "vocab: 24 data: '' } }",
                kInvalid, "bitmask.words "},
        Refusal{"step_outputs",
                "step { sequence_ids: 7 outputs { top_logprobs: 25 } tensor { dtype: "
                "DATA_TYPE_FLOAT32 rows: 1 vocab: 24 data: '' } }",
                kInvalid, "outputs.top_logprobs "},
        Refusal{"fork_unknown", "fork { sequence_id: 5 new_sequence_id: 6 }",
                absl::StatusCode::kNotFound, "sequence 5 is not open"},
        Refusal{"fork_no_id", "fork { sequence_id: 7 }", kInvalid,
                "fork.new_sequence_id must be set"},
        Refusal{"fork_open", "fork { sequence_id: 7 new_sequence_id: 0 }",
                absl::StatusCode::kAlreadyExists, "sequence 0 is open already"},
        Refusal{"rollback_unknown", "rollback { sequence_id: 5 num_tokens: 1 }",
                absl::StatusCode::kNotFound, "sequence 5 is not open"},
        Refusal{"close_unknown", "close { sequence_ids: [7, 5] }", absl::StatusCode::kNotFound,
                "sequence 5 is not open"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(StreamFaultTest, MemoryIsCountedAndGivenBack) {
  EXPECT_EQ(server_->sequence_bytes(), 0u);
  {
    Stream stream(*stub_);
    stream.Do(OpenRequest(AllIds()));
    const uint64_t opened = server_->sequence_bytes();
    EXPECT_GT(opened, kSequences * sizeof(Sequence));
    for (uint64_t step = 0; step < 8; ++step) stream.Step(AllIds(), step);
    EXPECT_GT(server_->sequence_bytes(), opened);
    stream.Do("close { sequence_ids: [0, 1, 2] }");
    EXPECT_LT(server_->sequence_bytes(), opened + kSequences * 32 * sizeof(uint32_t));
  }
  EXPECT_TRUE(Eventually([this] { return server_->sequence_bytes() == 0; }));
}

class TightStreamTest : public StreamTest<Sampler> {
 protected:
  static ServerOptions Options() {
    ServerOptions options = Loopback();
    options.sequences = {.max_tokens = 8, .max_bytes = 20'000};
    return options;
  }
  TightStreamTest() : StreamTest(CreateReferenceSampler(), Options()) {}
};

TEST_F(TightStreamTest, SequencesBeyondTheMemoryAreRefused) {
  Stream stream(*stub_);
  uint64_t id = 0;
  v1::SampleStreamResponse response;
  do {
    response = stream.Call(
        Parse("open { vocab: 24 sequences { sequence_id: " + std::to_string(id) + " } }"));
    ++id;
  } while (response.status_code() == 0 && id < 1000);
  EXPECT_THAT(Message(response, absl::StatusCode::kResourceExhausted),
              HasSubstr("--max-sequence-bytes"));
  EXPECT_GT(id, 5u);
  EXPECT_LE(server_->sequence_bytes(), 20'000u);
  stream.Do("close { sequence_ids: 0 }");
  stream.Do("open { vocab: 24 sequences { sequence_id: 0 } }");
  Stream other(*stub_);
  EXPECT_THAT(Message(other.Call(OpenRequest({0})), absl::StatusCode::kResourceExhausted),
              HasSubstr("--max-sequence-bytes"));
}

TEST_F(TightStreamTest, SequencesHaveAMostTokens) {
  Stream stream(*stub_);
  EXPECT_EQ(Message(stream.Call(OpenRequest({0}, "output_ids: [1, 2, 3]")), kInvalid),
            "open.sequences[0] must have at most 8 tokens, got 9");
  stream.Do(OpenRequest({0, 1}));
  for (uint64_t step = 0; step < 2; ++step) stream.Step({0}, step);
  EXPECT_EQ(
      Message(stream.Call(Stream::StepRequest({1, 0}, 2)), absl::StatusCode::kResourceExhausted),
      "sequence 0: it has 8 tokens, the limit (--max-sequence-tokens)");
  stream.Step({1}, 0);
}

TEST_F(StreamFaultTest, AStreamThatBreaksInALongOpenGivesItsMemoryBack) {
  const v1::SampleStreamRequest request = LongOpenRequest();
  for (int round = 0; round < 5; ++round) {
    Stream stream(*stub_);
    const uint64_t turns = server_->counters().turns;
    stream.raw().Write(request);
    if (round % 2 == 1) {
      ASSERT_TRUE(Eventually([&] { return server_->counters().turns > turns; }));
    }
    stream.context().TryCancel();
    EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([this] { return server_->sequence_bytes() == 0; }));
}

class GatedStreamTest : public StreamTest<GatedSampler> {
 protected:
  static ServerOptions Options() {
    ServerOptions options = Loopback();
    options.batcher.max_queued_rows = 1;
    return options;
  }
  GatedStreamTest() : StreamTest(std::make_unique<GatedSampler>(), Options()) {}
  ~GatedStreamTest() override { sampler_->Open(); }

  static constexpr char kOpenOne[] = "open { vocab: 24 sequences { sequence_id: 1 } }";
};

// The token is the sequence's step, so the test would notice a step that did not happen.
TEST_F(GatedStreamTest, AFullQueueRefusesTheStepAlone) {
  Stream busy(*stub_);
  Stream waiting(*stub_);
  Stream refused(*stub_);
  for (Stream* stream : {&busy, &waiting, &refused}) stream->Do(kOpenOne);
  sampler_->Close();
  busy.raw().Write(Stream::StepRequest({1}, 0));
  sampler_->AwaitCalls(1);
  waiting.raw().Write(Stream::StepRequest({1}, 0));
  EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 1; }));
  EXPECT_THAT(
      Message(refused.Call(Stream::StepRequest({1}, 0)), absl::StatusCode::kResourceExhausted),
      HasSubstr("the queue is full"));
  sampler_->Open();
  v1::SampleStreamResponse response;
  EXPECT_TRUE(waiting.raw().Read(&response));
  EXPECT_THAT(refused.Step({1}, 0), ElementsAre(0));
  EXPECT_THAT(refused.Step({1}, 1), ElementsAre(1));
}

TEST_F(GatedStreamTest, AFailedDeviceLeavesTheSequencesAsTheyAre) {
  Stream stream(*stub_);
  stream.Do(kOpenOne);
  sampler_->FailNext(absl::InternalError("the device is gone"));
  EXPECT_EQ(Message(stream.Call(Stream::StepRequest({1}, 0)), absl::StatusCode::kInternal),
            "the device is gone");
  EXPECT_THAT(stream.Step({1}, 0), ElementsAre(0));
}

TEST_F(GatedStreamTest, AStreamThatBreaksInAStepGivesItsMemoryBack) {
  for (const bool queued : {false, true}) {
    Stream other(*stub_);
    other.Do(kOpenOne);
    const uint64_t others_bytes = server_->sequence_bytes();
    {
      Stream stream(*stub_);
      stream.Do(kOpenOne);
      sampler_->Close();
      const size_t calls = sampler_->batch_rows().size();
      if (queued) {
        other.raw().Write(Stream::StepRequest({1}, 0));
        sampler_->AwaitCalls(calls + 1);
      }
      stream.raw().Write(Stream::StepRequest({1}, 0));
      if (queued) {
        EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 1; }));
      } else {
        sampler_->AwaitCalls(calls + 1);
      }
      stream.context().TryCancel();
      EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::CANCELLED);
      if (queued) {
        EXPECT_TRUE(Eventually([this] { return server_->counters().dropped == 1; }));
      }
      sampler_->Open();
    }
    // The other sequence makes room for less than the size of a sequence.
    EXPECT_TRUE(
        Eventually([&] { return server_->sequence_bytes() < others_bytes + sizeof(Sequence); }));
  }
}

TEST_F(GatedStreamTest, StreamsEndWithTheServerBehindTheirAnswer) {
  Stream stream(*stub_);
  stream.Do(kOpenOne);
  sampler_->Close();
  stream.raw().Write(Stream::StepRequest({1}, 0));
  sampler_->AwaitCalls(1);
  std::future<void> stopped =
      std::async(std::launch::async, [this] { server_->Stop(std::chrono::hours(1)); });
  sampler_->Open();
  v1::SampleStreamResponse response;
  EXPECT_TRUE(stream.raw().Read(&response));
  EXPECT_THAT(response.sampled().token_ids(), ElementsAre(0));
  EXPECT_FALSE(stream.raw().Read(&response));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stopped.get();
  EXPECT_EQ(server_->sequence_bytes(), 0u);
}

}  // namespace
}  // namespace token_sampler::testing
