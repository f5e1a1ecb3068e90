// Tests sequences in the server: they get the same tokens as single calls with the same history,
// whatever joins, leaves, forks, rolls back or breaks in between.

#include "server/sequences/sequence_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "tests/testing/sequence_streams.h"

namespace token_sampler::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class SequenceStreamTest : public StreamTest<Sampler> {
 protected:
  SequenceStreamTest() : StreamTest(CreateReferenceSampler()) {}
};

constexpr uint64_t kSteps = 12;

TEST_F(SequenceStreamTest, DrawsTheTokensOfSingleCalls) {
  const Ids ids = AllIds();
  const std::vector<Tokens> expected = Expected(ids, kSteps);
  Stream stream(*stub_);
  stream.Do(OpenRequest(ids));
  for (uint64_t step = 0; step < kSteps; ++step) {
    EXPECT_EQ(stream.Step(ids, step), expected[step]) << "step " << step;
  }
}

TEST_F(SequenceStreamTest, SequencesJoinAndLeaveAtAnyStep) {
  const Ids ids = AllIds();
  const std::vector<Tokens> expected = Expected(ids, kSteps);
  Stream stream(*stub_);
  std::vector<uint64_t> next(ids.size());  // each sequence's next step
  Ids open;
  for (uint64_t turn = 0; turn < 2 * kSequences; ++turn) {
    if (turn < kSequences) {
      open.push_back(turn);
      stream.Do(OpenRequest({turn}));
    } else {
      stream.Do("close { sequence_ids: " + std::to_string(open.front()) + " }");
      open.erase(open.begin());
    }
    for (const uint64_t id : open) {
      // Skip every other sequence in this turn.
      if ((id + turn) % 2 == 0 || next[id] == kSteps) continue;
      EXPECT_THAT(stream.Step({id}, next[id]), ElementsAre(expected[next[id]][id])) << "id " << id;
      ++next[id];
    }
  }
}

// The caller can continue with what it has received.
TEST_F(SequenceStreamTest, ABrokenStreamLosesNothing) {
  const Ids ids = AllIds();
  const std::vector<Tokens> expected = Expected(ids, kSteps);
  v1::SampleStreamRequest open = OpenRequest(ids);
  {
    Stream stream(*stub_);
    stream.Do(open);
    for (uint64_t step = 0; step < 5; ++step) {
      const v1::SampleStreamResponse response = stream.Do(Stream::StepRequest(ids, step));
      for (size_t i = 0; i < ids.size(); ++i) {
        auto& sequence = *open.mutable_open()->mutable_sequences(static_cast<int>(i));
        sequence.add_output_ids(response.sampled().token_ids(static_cast<int>(i)));
        *sequence.mutable_state() = response.sampled().states(static_cast<int>(i));
      }
    }
  }
  Stream stream(*stub_);
  stream.Do(open);
  for (uint64_t step = 5; step < kSteps; ++step) {
    EXPECT_EQ(stream.Step(ids, step), expected[step]) << "step " << step;
  }
}

TEST_F(SequenceStreamTest, RolledBackTokensAreDrawnAgain) {
  const Ids ids = AllIds();
  const std::vector<Tokens> expected = Expected(ids, kSteps);
  Stream stream(*stub_);
  stream.Do(OpenRequest(ids));
  for (uint64_t step = 0; step < 6; ++step) stream.Step(ids, step);
  for (const uint64_t id : ids) {
    stream.Do("rollback { sequence_id: " + std::to_string(id) + " num_tokens: 4 }");
  }
  for (uint64_t step = 2; step < kSteps; ++step) {
    EXPECT_EQ(stream.Step(ids, step), expected[step]) << "step " << step;
  }
}

TEST_F(SequenceStreamTest, RollsBackNoFurtherThanItKeeps) {
  Stream stream(*stub_);
  stream.Do(OpenRequest({0, 7}, "output_ids: [3, 4]"));  // one without a state, one with
  const auto rollback = [&](int id, int num_tokens) {
    return stream.Call(Parse("rollback { sequence_id: " + std::to_string(id) +
                             " num_tokens: " + std::to_string(num_tokens) + " }"));
  };
  EXPECT_EQ(Message(rollback(0, 3), absl::StatusCode::kOutOfRange),
            "rollback.num_tokens must be in [1, 2], got 3");
  EXPECT_EQ(Message(rollback(0, 0), absl::StatusCode::kOutOfRange),
            "rollback.num_tokens must be in [1, 2], got 0");
  EXPECT_EQ(rollback(0, 2).status_code(), 0u);
  EXPECT_EQ(Message(rollback(7, 1), absl::StatusCode::kOutOfRange),
            "rollback.num_tokens: nothing can be taken back, got 1");
  for (uint64_t step = 2; step < 72; ++step) stream.Step({7}, step);
  EXPECT_EQ(Message(rollback(7, 65), absl::StatusCode::kOutOfRange),
            "rollback.num_tokens must be in [1, 64], got 65");
  EXPECT_EQ(rollback(7, 64).status_code(), 0u);
}

TEST_F(SequenceStreamTest, ForksGoOnFromTheSameState) {
  const Ids ids = AllIds();
  const std::vector<Tokens> expected = Expected(ids, kSteps);
  Stream stream(*stub_);
  stream.Do(OpenRequest(ids));
  for (uint64_t step = 0; step < 4; ++step) stream.Step(ids, step);
  for (const uint64_t id : ids) {
    const std::string of = "sequence_id: " + std::to_string(id);
    stream.Do("fork { " + of + " new_sequence_id: " + std::to_string(100 + id) +
              " new_stream: 0 }");
    stream.Do("fork { " + of + " new_sequence_id: " + std::to_string(200 + id) + " }");
    stream.Do("close { sequence_ids: " + std::to_string(id) + " }");
  }
  for (uint64_t step = 4; step < 8; ++step) {
    for (const uint64_t id : ids) {
      v1::SampleStreamRequest request = Stream::StepRequest({id, id}, step);
      request.mutable_step()->set_sequence_ids(0, 100 + id);
      request.mutable_step()->set_sequence_ids(1, 200 + id);
      const v1::SampleStreamResponse response = stream.Do(request);
      EXPECT_EQ(response.sampled().token_ids(0), expected[step][id]);
      EXPECT_THAT(response.sampled().streams(), ElementsAre(0, 1));
    }
  }
  // A fork keeps tokens that its parent rolls back.
  stream.Do("rollback { sequence_id: 107 num_tokens: 8 }");
  v1::SampleStreamRequest first = Stream::StepRequest({7}, 0);
  first.mutable_step()->set_sequence_ids(0, 107);
  EXPECT_THAT(stream.Do(first).sampled().token_ids(), ElementsAre(expected[0][7]));
}

TEST_F(SequenceStreamTest, ALongSequenceIsOpenedInTurns) {
  Stream stream(*stub_);
  EXPECT_EQ(server_->counters().turns, 0u);
  EXPECT_THAT(stream.Do(LongOpenRequest()).seeds(), ElementsAre(1));
  EXPECT_GT(server_->counters().turns, 0u);
  EXPECT_THAT(stream.Step({0}, 0), SizeIs(1));
}

TEST_F(SequenceStreamTest, AFailedRowLeavesItsSequenceAsItIs) {
  const std::vector<Tokens> expected = Expected({0, 7}, 2);
  Stream stream(*stub_);
  stream.Do(OpenRequest({0, 7}));
  v1::SampleStreamRequest request = Stream::StepRequest({0, 7}, 0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(
      request.mutable_step()->mutable_tensor()->mutable_data()->data() + kVocab * sizeof(float),
      &nan, sizeof(nan));
  const v1::SampleStreamResponse response = stream.Do(request);
  EXPECT_THAT(response.sampled().token_counts(), ElementsAre(1, 0));
  EXPECT_EQ(response.sampled().row_statuses(0).code(), v1::ROW_CODE_NAN);
  EXPECT_THAT(stream.Step({7}, 0), ElementsAre(expected[0][1]));
  EXPECT_EQ(stream.Step({0, 7}, 1), expected[1]);
}

TEST_F(SequenceStreamTest, SaysWhichSequencesHaveStopped) {
  Stream stream(*stub_);
  stream.Do(
      "open { vocab: 2 params { stop_ids: 1 } sequences { sequence_id: 8 } "
      "sequences { sequence_id: 9 } }");
  v1::SampleStreamRequest request = Parse("step { sequence_ids: [8, 9] outputs { ranks: true } }");
  SetRows({{0, 90}, {90, 0}}, *request.mutable_step()->mutable_tensor());
  const v1::SampleStreamResponse response = stream.Do(request);
  EXPECT_THAT(response.sampled().token_ids(), ElementsAre(1, 0));
  EXPECT_THAT(response.finished(), ElementsAre(8));
  EXPECT_THAT(response.sampled().details(1).ranks(), ElementsAre(1));
}

TEST_F(SequenceStreamTest, ChoosesSeedsAndTellsThem) {
  Stream stream(*stub_);
  const v1::SampleStreamResponse response = stream.Do(
      "open { vocab: 24 sequences { sequence_id: 1 } sequences { sequence_id: 2 seed: 6 } }");
  ASSERT_EQ(response.seeds_size(), 2);
  EXPECT_EQ(response.seeds(1), 6u);
  const v1::SampleStreamResponse step = stream.Do(Stream::StepRequest({1, 2}, 0));
  EXPECT_THAT(step.sampled().seeds(), ElementsAre(response.seeds(0), 6));
}

TEST_F(SequenceStreamTest, ForksOfOneSequenceDrawFromStreamsOfTheirOwn) {
  Stream stream(*stub_);
  stream.Do(OpenRequest({0}));
  stream.Do("open { vocab: 24 sequences { sequence_id: 9 seed: 1 stream: 50 } }");
  for (const char* fork : {"sequence_id: 0 new_sequence_id: 1", "sequence_id: 0 new_sequence_id: 2",
                           "sequence_id: 1 new_sequence_id: 3"}) {
    stream.Do("fork { " + std::string(fork) + " }");
  }
  const v1::SampleStreamResponse response = stream.Do(Stream::StepRequest({0, 1, 2, 3}, 0));
  EXPECT_THAT(response.sampled().streams(), ElementsAre(0, 1, 2, 3));
}

// Gets the same tokens as single calls with the same option.
TEST_F(SequenceStreamTest, SkipsUnknownIdsAndCountsThem) {
  for (const uint64_t id : AllIds()) {
    v1::SampleStreamRequest open = OpenRequest({id});
    v1::OpenSequences::Sequence& sequence = *open.mutable_open()->mutable_sequences(0);
    for (const uint32_t token : {99u, 2u, 1u, 99u}) sequence.add_prompt_ids(token);
    sequence.add_output_ids(24);
    Stream stream(*stub_);
    EXPECT_THAT(Message(stream.Call(open), absl::StatusCode::kInvalidArgument),
                HasSubstr("open.sequences[0].prompt_ids[6] "));
    open.mutable_open()->set_skip_unknown_ids(true);
    EXPECT_THAT(stream.Do(open).skipped_ids(), ElementsAre(3));

    v1::SampleRequest single;
    *single.mutable_params() = open.open().params();
    single.mutable_keys()->add_seeds(sequence.seed());
    v1::Histories& histories = *single.mutable_histories();
    histories.set_skip_unknown_ids(true);
    *histories.mutable_prompt_ids()->mutable_token_ids() = sequence.prompt_ids();
    histories.mutable_prompt_ids()->add_lengths(10);
    *histories.mutable_output_ids()->mutable_token_ids() = sequence.output_ids();
    histories.mutable_output_ids()->add_lengths(1);
    for (uint64_t step = 1; step < 6; ++step) {
      const Tokens drawn = stream.Step({id}, step);
      single.mutable_tensor()->clear_data();
      SetRows({Logits(id, step)}, *single.mutable_tensor());
      single.mutable_keys()->clear_steps();
      single.mutable_keys()->add_steps(step);
      grpc::ClientContext context;
      v1::SampleResponse response;
      ASSERT_TRUE(stub_->Sample(&context, single, &response).ok());
      EXPECT_THAT(response.token_ids(), ElementsAre(drawn.at(0))) << kParams[id];
      histories.mutable_output_ids()->add_token_ids(drawn.at(0));
      histories.mutable_output_ids()->set_lengths(0, static_cast<uint32_t>(step + 1));
      *single.mutable_states() = response.states();
    }
  }
}

TEST_F(SequenceStreamTest, AppliesMasksAndTakesWeights) {
  Stream stream(*stub_);
  stream.Do("open { vocab: 3 sequences { sequence_id: 1 } sequences { sequence_id: 2 } }");
  v1::SampleStreamRequest request = Parse(
      "step { sequence_ids: [1, 2] input_kind: "
      "INPUT_KIND_WEIGHTS bitmask { rows: 1 } }");
  request.mutable_step()->mutable_bitmask()->set_words(std::string("\x04\0\0\0", 4));
  SetRows({{0, 1, 0}, {5, 5, 1}}, *request.mutable_step()->mutable_tensor());
  EXPECT_THAT(stream.Do(request).sampled().token_ids(), ElementsAre(1, 2));
}

// Parameters that do not fit weights fail only their rows.
TEST_F(SequenceStreamTest, ParametersOfLogitsFailWithWeights) {
  Stream stream(*stub_);
  stream.Do(
      "open { vocab: 2 params { temperature: 0.5 } params {} sequences { sequence_id: 1 } "
      "sequences { sequence_id: 2 params: 1 } }");
  v1::SampleStreamRequest request =
      Parse("step { sequence_ids: [1, 2] input_kind: INPUT_KIND_WEIGHTS }");
  SetRows({{0, 1}, {0, 1}}, *request.mutable_step()->mutable_tensor());
  const v1::SampleStreamResponse response = stream.Do(request);
  EXPECT_THAT(response.sampled().token_counts(), ElementsAre(0, 1));
  EXPECT_THAT(response.sampled().row_statuses(0).message(),
              HasSubstr("open.params[0].temperature "));
}

}  // namespace
}  // namespace token_sampler::testing
