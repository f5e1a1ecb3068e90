// Tests that a sequence that continues, forks and rolls back makes the same rows as its whole
// history.

#include "server/sequences/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "sampler/rows/pace.h"
#include "sampler/rows/paced.h"
#include "server/codec/row_codec.h"
#include "server/memory/ledger.h"
#include "server/sequences/sequence_table.h"
#include "tests/conformance/row_difference.h"
#include "tests/testing/counting_pace.h"

namespace token_sampler {
namespace {

using testing::CountingPace;
using ::testing::Ge;

using Ids = std::vector<uint32_t>;

constexpr uint32_t kVocab = 5;
constexpr uint64_t kMost = 4;  // sequences at a time

std::vector<SamplingParams> AllParams() {
  SamplingParams dry;
  dry.dry.multiplier = 0.7;
  SamplingParams breakers = dry;
  breakers.dry.allowed_length = 1;
  breakers.dry.breakers = {{4}, {0, 1}, {1, 0, 1}};
  SamplingParams window = breakers;
  window.dry.last_n = 12;
  SamplingParams ngrams;
  ngrams.no_repeat_ngram_size = 4;
  ngrams.bad_words = {{1, 2, 3}, {2, 2}};
  SamplingParams all = breakers;
  all.no_repeat_ngram_size = 5;
  all.repetition_penalty = 1.3;
  all.frequency_penalty = 0.1;
  SamplingParams newest = all;
  newest.penalty_last_n = 7;
  return {dry, breakers, window, ngrams, all, newest};
}

v1::OpenSequences OpenMessage(const SamplingParams& params, const Ids& prompt, const Ids& output) {
  v1::OpenSequences message;
  message.set_vocab(kVocab);
  v1::SamplingParams& sent = *message.add_params();
  sent.set_no_repeat_ngram_size(params.no_repeat_ngram_size);
  sent.set_repetition_penalty(params.repetition_penalty);
  sent.set_frequency_penalty(params.frequency_penalty);
  sent.set_penalty_last_n(params.penalty_last_n);
  for (const Ids& word : params.bad_words) {
    sent.add_bad_words()->mutable_token_ids()->Assign(word.begin(), word.end());
  }
  if (params.dry.multiplier > 0) {
    sent.mutable_dry()->set_multiplier(params.dry.multiplier);
    sent.mutable_dry()->set_allowed_length(params.dry.allowed_length);
    sent.mutable_dry()->set_last_n(params.dry.last_n);
    for (const Ids& breaker : params.dry.breakers) {
      sent.mutable_dry()->add_breakers()->mutable_token_ids()->Assign(breaker.begin(),
                                                                      breaker.end());
    }
  }
  v1::OpenSequences::Sequence& sequence = *message.add_sequences();
  sequence.set_sequence_id(0);
  sequence.set_seed(9);
  sequence.mutable_prompt_ids()->Assign(prompt.begin(), prompt.end());
  sequence.mutable_output_ids()->Assign(output.begin(), output.end());
  return message;
}

class SequenceTest : public ::testing::TestWithParam<size_t> {
 protected:
  RowResult Sample(RowInput row) {
    row.outputs = &outputs_;
    RowResult result;
    EXPECT_TRUE(sampler_->Sample({&row, 1}, {&result, 1}).ok());
    return result;
  }

  RowInput Row(const std::vector<float>& logits) {
    RowInput row;
    row.values = logits.data();
    row.vocab = kVocab;
    return row;
  }

  Ledger ledger_{uint64_t{1} << 30};
  const CallContext context_ = {};
  const SequenceLimits limits_ = {};
  const OutputOptions outputs_ = {.logprobs = true, .kept_set = true, .weights = true};
  const std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
};

TEST_P(SequenceTest, GivesTheRowsOfItsHistory) {
  const SamplingParams params = AllParams()[GetParam()];
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto below = [&](uint32_t end) { return static_cast<uint32_t>(random() % end); };
  const auto some_ids = [&](size_t size) {
    Ids ids(size);
    for (uint32_t& id : ids) id = below(kVocab);
    return ids;
  };
  for (int round = 0; round < 20; ++round) {
    const Ids prompt = some_ids(below(40));
    SequenceTable table(context_, limits_, &ledger_);
    std::vector<Ids> outputs = {some_ids(below(20))};
    v1::SampleStreamResponse answer;
    ASSERT_TRUE(table.Open(OpenMessage(params, prompt, outputs[0]), nullptr, answer).ok());
    for (int step = 0; step < 100; ++step) {
      const uint64_t id = below(static_cast<uint32_t>(outputs.size()));
      Sequence& sequence = **table.Find(id);
      Ids& output = outputs[id];
      if (below(12) == 0 && outputs.size() < kMost) {
        v1::ForkSequence fork;
        fork.set_sequence_id(id);
        fork.set_new_sequence_id(outputs.size());
        ASSERT_TRUE(table.Fork(fork, nullptr).ok());
        outputs.push_back(Ids(output));
        continue;
      }
      if (below(6) == 0 && !output.empty()) {
        const uint32_t back = 1 + below(static_cast<uint32_t>(output.size()));
        ASSERT_TRUE(sequence.Rollback(back, nullptr).ok());
        output.resize(output.size() - back);
        continue;
      }
      std::vector<float> logits(kVocab);
      for (float& logit : logits) logit = static_cast<float>(below(100)) / 50;
      ASSERT_TRUE(sequence.ReserveToken().ok());
      RowInput row = Row(logits);
      sequence.FillRow(row);
      const RowHistory history = {.prompt_ids = prompt, .output_ids = output};
      RowInput at_once = Row(logits);
      at_once.params = &params;
      at_once.key = row.key;
      at_once.history = &history;
      RowResult result = Sample(row);
      ASSERT_EQ(testing::RowDifference(result, Sample(at_once)), "")
          << "round " << round << ", step " << step;
      // Continue if all tokens are banned, and make repetitions, which would seldom occur by
      // chance.
      if (result.token_ids.empty() || below(2) == 0) {
        result.token_ids = {output.size() < 3 ? 0 : output[output.size() - 3]};
      }
      sequence.Append(result);
      output.push_back(result.token_ids[0]);
    }
  }
  EXPECT_EQ(ledger_.used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Params, SequenceTest, ::testing::Range<size_t>(0, AllParams().size()));

TEST_F(SequenceTest, AForkSharesWhatIsKeptOfThePrompt) {
  SequenceTable table(context_, limits_, &ledger_);
  v1::SampleStreamResponse answer;
  const Ids prompt(100'000, 3);
  ASSERT_TRUE(table.Open(OpenMessage(AllParams()[1], prompt, {}), nullptr, answer).ok());
  const uint64_t opened = ledger_.used();
  EXPECT_GT(opened, prompt.size() * 12);
  v1::ForkSequence fork;
  fork.set_sequence_id(0);
  fork.set_new_sequence_id(1);
  ASSERT_TRUE(table.Fork(fork, nullptr).ok());
  EXPECT_LT(ledger_.used() - opened, 2000u);
}

constexpr int64_t kTokensPerQuestion = 4096;

TEST_F(SequenceTest, LongSequencesAreMadeInPieces) {
  constexpr size_t kTokens = 200'000;
  SamplingParams params = AllParams()[4];
  Ids ids(kTokens);
  for (size_t i = 0; i < kTokens; ++i) ids[i] = static_cast<uint32_t>(i % 7 % kVocab);
  const v1::OpenSequences message = OpenMessage(params, ids, ids);
  v1::ForkSequence fork_message;
  fork_message.set_sequence_id(0);
  fork_message.set_new_sequence_id(1);
  SequenceTable table(context_, limits_, &ledger_);
  v1::SampleStreamResponse answer;
  // A call that is interrupted leaves nothing behind.
  for (const int64_t go_on : {0, 20, 100, 200}) {
    CountingPace stops(go_on);
    EXPECT_THROW(static_cast<void>(table.Open(message, &stops, answer)), Interrupted);
    EXPECT_EQ(ledger_.used(), 0u);
    EXPECT_EQ(answer.seeds_size(), 0);
  }
  CountingPace opening;
  ASSERT_TRUE(table.Open(message, &opening, answer).ok());
  EXPECT_THAT(opening.asked(), Ge(int64_t{2 * kTokens} / kTokensPerQuestion));
  const uint64_t opened = ledger_.used();
  CountingPace stops(10);
  EXPECT_THROW(static_cast<void>(table.Fork(fork_message, &stops)), Interrupted);
  EXPECT_EQ(ledger_.used(), opened);
  CountingPace forking;
  ASSERT_TRUE(table.Fork(fork_message, &forking).ok());
  EXPECT_THAT(forking.asked(), Ge(int64_t{kTokens} / kTokensPerQuestion));

  const RowHistory history = {.prompt_ids = ids, .output_ids = ids};
  const std::vector<float> logits = {1, 2, 3, 2, 1};
  for (const uint64_t id : {0u, 1u}) {
    RowInput row = Row(logits);
    (*table.Find(id))->FillRow(row);
    RowInput at_once = Row(logits);
    at_once.params = &params;
    at_once.key = row.key;
    at_once.history = &history;
    EXPECT_EQ(testing::RowDifference(Sample(row), Sample(at_once)), "");
  }
}

TEST_F(SequenceTest, ManyTokensAreTakenBackInPieces) {
  constexpr uint32_t kKept = 50;
  constexpr uint32_t kTaken = 100'000;
  SamplingParams params = AllParams()[4];
  Ids ids(kKept + kTaken);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint32_t>(i % 7 % kVocab);
  SequenceTable table(context_, limits_, &ledger_);
  v1::SampleStreamResponse answer;
  ASSERT_TRUE(table.Open(OpenMessage(params, {}, ids), nullptr, answer).ok());
  v1::RollbackSequence message;
  message.set_sequence_id(0);
  message.set_num_tokens(kTaken);
  EXPECT_GE(table.RollbackWork(message), uint64_t{kTaken});
  CountingPace pace;
  ASSERT_TRUE(table.Rollback(message, &pace).ok());
  EXPECT_THAT(pace.asked(), Ge(int64_t{kTaken} / kTokensPerQuestion));

  ids.resize(kKept);
  const RowHistory history = {.prompt_ids = {}, .output_ids = ids};
  const std::vector<float> logits = {1, 2, 3, 2, 1};
  RowInput row = Row(logits);
  (*table.Find(0))->FillRow(row);
  EXPECT_EQ(row.key.step, kKept);
  RowInput at_once = Row(logits);
  at_once.params = &params;
  at_once.key = row.key;
  at_once.history = &history;
  EXPECT_EQ(testing::RowDifference(Sample(row), Sample(at_once)), "");
}

// The ledger is asked before memory is taken.
TEST_F(SequenceTest, MemoryBeyondTheBudgetIsRefused) {
  Ledger little(150'000);
  SequenceTable table(context_, limits_, &little);
  v1::SampleStreamResponse answer;
  const Ids ids(10'000, 3);
  const absl::Status opened = table.Open(OpenMessage(AllParams()[1], ids, {}), nullptr, answer);
  EXPECT_EQ(opened.code(), absl::StatusCode::kResourceExhausted) << opened;
  const absl::Status of_output = table.Open(OpenMessage(AllParams()[1], {}, ids), nullptr, answer);
  EXPECT_EQ(of_output.code(), absl::StatusCode::kResourceExhausted) << of_output;
  EXPECT_EQ(little.used(), 0u);
  EXPECT_TRUE(table.Open(OpenMessage({}, ids, {}), nullptr, answer).ok());
}

}  // namespace
}  // namespace token_sampler
