// Tests masks, bans, bias and penalties: published answers of llama.cpp and transformers, and what
// each needs of the history.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;
using Ids = std::vector<uint32_t>;

RowHistory Output(const Ids& ids) { return {.output_ids = ids}; }
RowHistory Prompt(const Ids& ids) { return {.prompt_ids = ids}; }

std::map<uint32_t, double> Kept(const std::vector<float>& logits, const SamplingParams& params,
                                const RowHistory& history) {
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  return KeptProbabilities(row);
}

// Returns the tokens of a flat row of `vocab` tokens that cannot be drawn.
std::set<uint32_t> Banned(uint32_t vocab, const SamplingParams& params, const RowHistory& history) {
  const auto kept = Kept(std::vector<float>(vocab, 0.0f), params, history);
  std::set<uint32_t> banned;
  for (uint32_t id = 0; id < vocab; ++id) {
    if (!kept.contains(id)) banned.insert(id);
  }
  return banned;
}

void ExpectProbabilities(const std::map<uint32_t, double>& actual,
                         const std::vector<double>& expected) {
  for (uint32_t id = 0; id < expected.size(); ++id) {
    EXPECT_NEAR(actual.contains(id) ? actual.at(id) : 0.0, expected[id], 1e-5) << id;
  }
}

TEST(PenaltyTest, MatchesLlamaCpp) {
  const std::vector<float> flat(5, std::log(.2f));
  const SamplingParams repeat = {.repetition_penalty = 50};
  const SamplingParams both = {.frequency_penalty = 5, .presence_penalty = 5};
  ExpectProbabilities(Kept(flat, repeat, Output({0})), {0, .25, .25, .25, .25});
  ExpectProbabilities(Kept(flat, repeat, Output({0, 1, 2})), {0, 0, 0, .5, .5});
  ExpectProbabilities(Kept(flat, repeat, Output({0, 1, 2, 0, 0})), {0, 0, 0, .5, .5});
  ExpectProbabilities(Kept(flat, both, Output({0})), {.000011, .249997, .249997, .249997, .249997});
  ExpectProbabilities(Kept(flat, both, Output({0, 1, 2})),
                      {.000023, .000023, .000023, .499966, .499966});
  ExpectProbabilities(Kept(flat, both, Output({0, 1, 2, 0, 0})),
                      {0, .000023, .000023, .499977, .499977});
}

TEST(PenaltyTest, RepetitionMatchesTransformers) {
  std::vector<float> logits(10, .1f);
  logits[0] = -.1f;
  const Ids prompt = {0, 1};
  const auto kept = Kept(logits, {.repetition_penalty = 2}, Prompt(prompt));
  // -.1 becomes -.2 and .1 becomes .05; the other .1 is unchanged.
  EXPECT_NEAR(std::log(kept.at(0) / kept.at(2)), -.3, 1e-6);
  EXPECT_NEAR(std::log(kept.at(1) / kept.at(2)), -.05, 1e-6);

  std::vector<float> second(10, .1f);
  second[5] = .4f;
  const auto halved = Kept(second, {.repetition_penalty = 2}, Prompt({5, 0}));
  EXPECT_NEAR(std::log(halved.at(0) / halved.at(2)), -.05, 1e-6);
  EXPECT_NEAR(std::log(halved.at(5) / halved.at(2)), .1, 1e-6);
}

// Counts like llama.cpp, whose window has prompt and output alike.
TEST(PenaltyTest, APromptSentAsOutputIsCounted) {
  const SamplingParams params = {.frequency_penalty = 1, .penalty_last_n = 3};
  const auto kept = Kept({0, 0, 0}, params, Output({2, 0, 0, 1}));
  EXPECT_NEAR(std::log(kept.at(0) / kept.at(2)), -2, 1e-6);
  EXPECT_NEAR(std::log(kept.at(1) / kept.at(2)), -1, 1e-6);
}

// Acts like TensorRT-LLM's kernel, which penalises logits after the temperature.
TEST(PenaltyTest, TimesTheTemperatureTheyActBehindIt) {
  const SamplingParams params = {
      .temperature = .5, .frequency_penalty = .5 * 2, .presence_penalty = .5 * 1};
  const auto kept = Kept({0, 0}, params, Output({0, 0}));
  EXPECT_NEAR(std::log(kept.at(0) / kept.at(1)), -(2 * 2 + 1), 1e-5);
}

TEST(PenaltyTest, ZeroLogitStaysZero) {
  ExpectProbabilities(Kept({0, 0}, {.repetition_penalty = 2}, Output({0})), {.5, .5});
}

TEST(PenaltyTest, RepetitionSeesThePromptAndTheOthersDoNot) {
  ExpectProbabilities(Kept({1, 1}, {.frequency_penalty = 2, .presence_penalty = 2}, Prompt({0})),
                      {.5, .5});
  EXPECT_LT(Kept({1, 1}, {.repetition_penalty = 2}, Prompt({0})).at(0), .4);
}

TEST(PenaltyTest, SetsAndCountsAreAsGoodAsSequences) {
  const std::vector<float> logits = {.5f, -.25f, 1, 2, 0};
  const SamplingParams params = {
      .repetition_penalty = 1.5, .frequency_penalty = .25, .presence_penalty = .5};
  const Ids prompt = {3, 1, 3};
  const Ids output = {2, 0, 2, 2};
  const Ids prompt_set = {1, 3};
  const Ids count_ids = {2, 0};
  const Ids counts = {3, 1};
  const auto from_sequences = Kept(logits, params, {.prompt_ids = prompt, .output_ids = output});
  const auto from_counts =
      Kept(logits, params,
           {.prompt_set = prompt_set, .output_count_ids = count_ids, .output_counts = counts});
  EXPECT_EQ(from_sequences, from_counts);
}

TEST(PenaltyTest, LooksAtTheNewestTokensAlone) {
  const Ids prompt = {0};
  const Ids output = {1, 2};
  const RowHistory history = {.prompt_ids = prompt, .output_ids = output};
  const auto penalized = [&](int32_t last_n) {
    const SamplingParams params = {.repetition_penalty = 2, .penalty_last_n = last_n};
    std::set<uint32_t> ids;
    for (const auto& [id, probability] : Kept({1, 1, 1, 1}, params, history)) {
      if (probability < .24) ids.insert(id);
    }
    return ids;
  };
  EXPECT_EQ(penalized(-1), (std::set<uint32_t>{0, 1, 2}));
  EXPECT_EQ(penalized(9), (std::set<uint32_t>{0, 1, 2}));
  EXPECT_EQ(penalized(2), (std::set<uint32_t>{1, 2}));
  EXPECT_EQ(penalized(1), (std::set<uint32_t>{2}));
  EXPECT_EQ(penalized(0), (std::set<uint32_t>{}));
}

// Uses the rows of llama.cpp's test-sampling.cpp.
TEST(DryTest, MatchesLlamaCpp) {
  const std::vector<float> four(4, std::log(.25f));
  const std::vector<float> five(5, std::log(.2f));
  const auto params = [](double multiplier, uint32_t allowed, int32_t last_n,
                         std::vector<std::vector<uint32_t>> breakers = {}) {
    return SamplingParams{.dry = {.multiplier = multiplier,
                                  .base = 1.1,
                                  .allowed_length = allowed,
                                  .last_n = last_n,
                                  .breakers = std::move(breakers)}};
  };
  ExpectProbabilities(Kept(four, params(1, 2, 4), Output({0, 1})), {.25, .25, .25, .25});
  ExpectProbabilities(Kept(four, params(1, 2, 5), Output({0, 1, 2, 0, 1})),
                      {.296923, .296923, .109232, .296923});
  ExpectProbabilities(Kept(five, params(1, 2, 6, {{3}}), Output({0, 1, 3, 4, 0, 1})),
                      {.2, .2, .2, .2, .2});
  ExpectProbabilities(Kept(five, params(2, 2, 5), Output({0, 1, 2, 0, 1})),
                      {.241818, .241818, .032727, .241818, .241818});
  ExpectProbabilities(Kept(five, params(1, 4, 7), Output({0, 1, 2, 3, 4, 0, 1})),
                      {.2, .2, .2, .2, .2});
}

TEST(DryTest, GrowsWithTheLengthAndStopsAtBreakers) {
  const std::vector<float> flat(6, 0.0f);
  SamplingParams params = {.dry = {.multiplier = .5, .base = 3, .allowed_length = 2}};
  const Ids history = {1, 2, 3, 4, 5, 1, 2, 3};
  // Token 4 would continue a repetition of three tokens: .5 * 3^(3 - 2).
  EXPECT_NEAR(std::log(Kept(flat, params, Output(history)).at(4) /
                       Kept(flat, params, Output(history)).at(0)),
              -1.5, 1e-6);
  // After a breaker of the tokens 1 and 2, one token of it is left, which is allowed.
  params.dry.breakers = {{1, 2}};
  EXPECT_EQ(Kept(flat, params, Output(history)).at(4), Kept(flat, params, Output(history)).at(0));
}

TEST(DryTest, ALongRepetitionIsFinite) {
  // 1.75^9998 is beyond a double: the token cannot be drawn, and the row is valid.
  Ids history(10'000, 1);
  const SamplingParams params = {.dry = {.multiplier = 1}};
  ExpectProbabilities(Kept({0, 0, 0}, params, Output(history)), {.5, 0, .5});
}

TEST(NoRepeatNgramTest, MatchesTransformers) {
  using Set = std::set<uint32_t>;
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 2}, Prompt({1, 1, 2, 1})), (Set{1, 2}));
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 2}, Prompt({0, 1, 0, 1})), (Set{0}));
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 3}, Prompt({1, 1, 2, 1})), (Set{}));
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 3}, Prompt({0, 1, 0, 1})), (Set{0}));
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 1}, Prompt({2, 2})), (Set{2}));
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 9}, Prompt({0, 1})), (Set{}));
}

TEST(NoRepeatNgramTest, GoesOnFromThePromptIntoTheOutput) {
  const Ids prompt = {0, 1};
  const Ids output = {2, 0};
  EXPECT_EQ(Banned(3, {.no_repeat_ngram_size = 2}, {.prompt_ids = prompt, .output_ids = output}),
            (std::set<uint32_t>{1}));
}

// Leaves out the word that consists of the end of sequence, which transformers never bans.
TEST(BadWordsTest, MatchesTransformers) {
  const SamplingParams params = {.bad_words = {{1}, {1, 0}, {0, 1, 2}, {1, 3, 1, 3}}};
  EXPECT_EQ(Banned(5, params, Prompt({0, 1, 3, 1})), (std::set<uint32_t>{0, 1, 3}));
  EXPECT_EQ(Banned(5, params, Prompt({0, 1, 0, 1})), (std::set<uint32_t>{0, 1, 2}));
}

TEST(MaskTest, AllowedBannedAndStopIds) {
  using Set = std::set<uint32_t>;
  EXPECT_EQ(Banned(5, {.allowed_ids = {1, 3}}, {}), (Set{0, 2, 4}));
  EXPECT_EQ(Banned(5, {.allowed_ids = {1, 3}, .banned_ids = {3}}, {}), (Set{0, 2, 3, 4}));
  EXPECT_EQ(Banned(5, {.banned_ids = {0, 0, 4}}, {}), (Set{0, 4}));
}

TEST(MaskTest, StopIdsAreBannedBelowMinTokens) {
  const SamplingParams params = {.min_tokens = 3, .stop_ids = {1}};
  const std::vector<float> logits(2, 0.0f);
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, params, {.step = 2})).size(), 1u);
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, params, {.step = 3})).size(), 2u);
}

TEST(MaskTest, BitmaskHasTheLayoutOfXgrammar) {
  // Token 32 w + i is bit i of the int32 word w, little-endian.
  std::vector<uint8_t> words(8);
  const uint32_t first = (1u << 0) | (1u << 9) | (1u << 31);
  const uint32_t second = 1u << 3;
  for (size_t i = 0; i < 4; ++i) {
    words[i] = static_cast<uint8_t>(first >> (8 * i));
    words[4 + i] = static_cast<uint8_t>(second >> (8 * i));
  }
  const std::vector<float> logits(40, 0.0f);
  const SamplingParams params;
  RowInput row = LogitRow(logits, params);
  row.bitmask = words.data();
  const auto kept = KeptProbabilities(row);
  ASSERT_EQ(kept.size(), 4u);
  for (const uint32_t id : {0u, 9u, 31u, 35u}) EXPECT_TRUE(kept.contains(id)) << id;
}

TEST(MaskTest, WeightsAreMaskedWithZero) {
  EXPECT_EQ(KeptProbabilities(WeightRow({1, 2, 5}, {.banned_ids = {2}})).size(), 2u);
}

TEST(LogitBiasTest, IsAddedAndMayMask) {
  const SamplingParams params = {
      .logit_bias = {{0, 1.0f}, {2, -std::numeric_limits<float>::infinity()}}};
  const auto kept = Kept({0, 0, 0}, params, {});
  EXPECT_EQ(kept.size(), 2u);
  EXPECT_NEAR(kept.at(0) / kept.at(1), std::exp(1.0), 1e-5);
}

TEST(AdjustmentErrorTest, MaskingEverythingFailsTheRow) {
  const SamplingParams params = {.banned_ids = {0, 1}};
  const RowResult result = SampleRow(LogitRow({1, 2}, params));
  EXPECT_EQ(result.code, RowCode::kAllMasked);
  EXPECT_EQ(result.message, "after adjustments, every logit is -infinity: no token can be drawn");
}

TEST(AdjustmentErrorTest, AnOverflowingPenaltyFailsTheRow) {
  const Ids output = {0};
  const RowHistory history = Output(output);
  const SamplingParams params = {.repetition_penalty = 1e-6};
  const std::vector<float> logits = {1e38f, 0};
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  const RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kInfinite);
  EXPECT_EQ(result.message,
            "after adjustments, logit of token 0 must be finite or -infinity, got inf");
}

TEST(AdjustmentErrorTest, HistoryBeyondTheVocabularyFailsTheRow) {
  const Ids output = {0, 7};
  const RowHistory history = Output(output);
  const SamplingParams params = {.presence_penalty = 1};
  const std::vector<float> logits = {1, 0};
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  const RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kInvalidInput);
  EXPECT_EQ(result.message, "output_ids[1] must be below the vocabulary of 2, got 7");
}

// Ids that are not tokens of the row, such as placeholders of images, stay in the history.
TEST(UnknownIdTest, KeepsItsPlaceAndEqualsNothing) {
  using Set = std::set<uint32_t>;
  const auto banned = [](const SamplingParams& params, const Ids& ids) {
    return Banned(4, params, {.prompt_ids = ids, .skip_unknown_ids = true});
  };
  // Without the 9, token 2 would follow 1 again.
  EXPECT_EQ(banned({.no_repeat_ngram_size = 2}, {1, 9, 2, 1}), (Set{}));
  EXPECT_EQ(banned({.no_repeat_ngram_size = 2}, {1, 2, 9, 1}), (Set{2}));
  // The end repeats nothing, because a 9 does not even equal another 9.
  EXPECT_EQ(banned({.no_repeat_ngram_size = 2}, {9, 2, 9}), (Set{}));
  EXPECT_EQ(banned({.no_repeat_ngram_size = 3}, {9, 1, 2, 9, 1}), (Set{}));
  EXPECT_EQ(banned({.no_repeat_ngram_size = 1}, {9, 2, UINT32_MAX, 4, 0}), (Set{0, 2}));
  EXPECT_EQ(banned({.bad_words = {{1, 3}, {2, 0}}}, {1, 2, 9}), (Set{}));
  EXPECT_EQ(banned({.bad_words = {{1, 3}, {2, 0}}}, {1, 9, 2}), (Set{0}));
}

TEST(UnknownIdTest, CountsInTheWindowOfPenalties) {
  const auto penalized = [](int32_t last_n, const Ids& ids) {
    const SamplingParams params = {.repetition_penalty = 3, .penalty_last_n = last_n};
    std::set<uint32_t> lower;
    for (const auto& [id, probability] :
         Kept({1, 1, 1, 1}, params, {.output_ids = ids, .skip_unknown_ids = true})) {
      if (probability < .24) lower.insert(id);
    }
    return lower;
  };
  EXPECT_EQ(penalized(-1, {0, 1, 9, 9}), (std::set<uint32_t>{0, 1}));
  EXPECT_EQ(penalized(3, {0, 1, 9, 9}), (std::set<uint32_t>{1}));
  EXPECT_EQ(penalized(2, {0, 1, 9, 9}), (std::set<uint32_t>{}));
}

TEST(UnknownIdTest, EndsTheRepetitionsOfDry) {
  const auto penalty = [](const Ids& ids, uint32_t id, int32_t last_n = -1) {
    const SamplingParams params = {
        .dry = {.multiplier = 1, .base = 1.1, .allowed_length = 1, .last_n = last_n}};
    const auto kept =
        Kept(std::vector<float>(6, 0.0f), params, {.prompt_ids = ids, .skip_unknown_ids = true});
    return std::log(kept.at(0) / kept.at(id));
  };
  EXPECT_NEAR(penalty({1, 2, 3, 4, 1, 2, 3}, 4), 1.1 * 1.1, 1e-6);
  EXPECT_NEAR(penalty({1, 9, 3, 4, 1, 9, 3}, 4), 1, 1e-6);
  // Two images of the same size are not a repetition.
  EXPECT_EQ(penalty({9, 9, 9, 4, 9, 9, 9}, 4), 0);
  // An unknown id counts in the window too.
  EXPECT_NEAR(penalty({3, 4, 9, 3}, 4, 4), 1, 1e-6);
  EXPECT_EQ(penalty({3, 4, 9, 3}, 4, 3), 0);
  // The repetition would continue with an unknown id, which is not a token.
  EXPECT_EQ(penalty({3, 9, 3}, 4), 0);
}

TEST(UnknownIdTest, OfSetsAndCountsIsPassedOver) {
  const Ids ids = {1, 9};
  const Ids counts = {2, 3};
  const auto kept = Kept({0, 0, 0}, {.repetition_penalty = 2, .frequency_penalty = 1},
                         {.prompt_set = ids,
                          .output_count_ids = ids,
                          .output_counts = counts,
                          .skip_unknown_ids = true});
  EXPECT_NEAR(std::log(kept.at(0) / kept.at(1)), 2, 1e-6);
  EXPECT_EQ(kept.at(0), kept.at(2));
}

TEST(AdjustmentErrorTest, NgramsNeedTheOrder) {
  const Ids set = {0};
  const RowHistory history = {.prompt_set = set};
  const SamplingParams params = {.no_repeat_ngram_size = 2};
  const std::vector<float> logits = {1, 0};
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  EXPECT_EQ(SampleRow(row).code, RowCode::kInvalidInput);
}

TEST(RawLogprobTest, SeesTheRowBeforeAdjustments) {
  const OutputOptions outputs = {.logprobs = true};
  const SamplingParams params = {.banned_ids = {0}};
  const std::vector<float> logits = {0, 0};
  RowInput row = LogitRow(logits, params);
  row.outputs = &outputs;
  const RowResult result = SampleRow(row);
  EXPECT_THAT(result.token_ids, ElementsAre(1));
  EXPECT_NEAR(result.logprobs.at(0), std::log(.5), 1e-6);
}

}  // namespace
}  // namespace token_sampler
