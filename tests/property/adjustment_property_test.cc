// Tests properties of every mask, ban and penalty on any row and history.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "tests/testing/sample_row.h"
#include "tests/testing/tied_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::TiedRow;
using Ids = std::vector<uint32_t>;

constexpr uint32_t kVariants = 40;

Ids SomeIds(size_t vocab, size_t count, std::mt19937& random) {
  Ids ids(count);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random() % vocab);
  return ids;
}

// Returns a result with everything that adjustments can change.
RowResult Sample(const std::vector<float>& logits, const SamplingParams& params,
                 const RowHistory& history = {}, const uint8_t* bitmask = nullptr) {
  const OutputOptions outputs = {.kept_set = true};
  RowInput row = LogitRow(logits, params, {.seed = 3});
  row.outputs = &outputs;
  row.history = &history;
  row.bitmask = bitmask;
  return SampleRow(row);
}

void ExpectSame(const RowResult& actual, const RowResult& expected) {
  EXPECT_EQ(actual.code, expected.code) << actual.message << " | " << expected.message;
  EXPECT_EQ(actual.token_ids, expected.token_ids);
  EXPECT_EQ(actual.kept_token_ids, expected.kept_token_ids);
  EXPECT_EQ(actual.kept_logprobs, expected.kept_logprobs);
}

std::vector<uint8_t> BitmaskOf(const Ids& allowed, size_t vocab) {
  std::vector<uint8_t> bitmask((vocab + 31) / 32 * 4);
  for (const uint32_t id : allowed) {
    bitmask[id / 8] = static_cast<uint8_t>(bitmask[id / 8] | 1u << id % 8);
  }
  return bitmask;
}

// Returns the log odds of token `id` against `other`, which is not penalised.
double LogOdds(const std::vector<float>& logits, const SamplingParams& params,
               const RowHistory& history, uint32_t id, uint32_t other) {
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  const auto kept = KeptProbabilities(row);
  return std::log(kept.at(id) / kept.at(other));
}

TEST(BanTest, LeavesExactlyTheOthers) {
  std::mt19937 random(1);
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    const size_t vocab = logits.size();
    const SamplingParams params = {.allowed_ids = SomeIds(vocab, 50, random),
                                   .banned_ids = SomeIds(vocab, 20, random),
                                   .bad_words = {SomeIds(vocab, 1, random)},
                                   .min_tokens = 1,
                                   .stop_ids = SomeIds(vocab, 3, random)};
    std::set<uint32_t> left(params.allowed_ids.begin(), params.allowed_ids.end());
    for (const Ids& ids : {params.banned_ids, params.bad_words[0], params.stop_ids}) {
      for (const uint32_t id : ids) left.erase(id);
    }
    std::erase_if(left, [&](uint32_t id) { return !std::isfinite(logits[id]); });
    const RowResult result = Sample(logits, params);
    EXPECT_EQ(result.kept_token_ids, Ids(left.begin(), left.end())) << variant;
    // If there are as many draws as tokens, each token is drawn.
    SamplingParams all = params;
    all.num_samples = static_cast<uint32_t>(left.size());
    RowResult drawn = Sample(logits, all);
    std::sort(drawn.token_ids.begin(), drawn.token_ids.end());
    EXPECT_EQ(drawn.token_ids, Ids(left.begin(), left.end())) << variant;
  }
}

TEST(BitmaskTest, IsAsGoodAsAListOfAllowedIds) {
  std::mt19937 random(2);
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    const Ids allowed = SomeIds(logits.size(), 1 + variant, random);
    const std::vector<uint8_t> bitmask = BitmaskOf(allowed, logits.size());
    ExpectSame(Sample(logits, {.top_p = .9}, {}, bitmask.data()),
               Sample(logits, {.top_p = .9, .allowed_ids = allowed}));
  }
}

TEST(LogitBiasTest, IsAsGoodAsOtherLogits) {
  std::mt19937 random(3);
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    std::vector<float> moved = logits;
    SamplingParams params = {.top_p = .9};
    for (const uint32_t id : {3u, 17u, 59u}) {
      const float bias = static_cast<float>(random() % 1000) / 100 - 5;
      params.logit_bias.push_back({id, bias});
      moved[id] += bias;
    }
    ExpectSame(Sample(logits, params), Sample(moved, {.top_p = .9}));
  }
}

TEST(PenaltyPropertyTest, GrowsWithTheCountAsItsNameSays) {
  const std::vector<float> logits = {.5f, 2, -1, 0};
  for (uint32_t id = 0; id < 3; ++id) {
    const auto odds = [&](const SamplingParams& params, uint32_t count) {
      const Ids output(count, id);
      return LogOdds(logits, params, {.output_ids = output}, id, 3);
    };
    const double none = odds({}, 0);
    for (uint32_t count = 1; count < 8; ++count) {
      // Frequency acts once per occurrence, presence and repetition only once.
      EXPECT_NEAR(odds({.frequency_penalty = .25}, count), none - .25 * count, 1e-5);
      EXPECT_NEAR(odds({.frequency_penalty = -.25}, count), none + .25 * count, 1e-5);
      EXPECT_NEAR(odds({.presence_penalty = .75}, count), none - .75, 1e-5);
      const double repeated = odds({.repetition_penalty = 2}, count);
      EXPECT_NEAR(repeated, logits[id] > 0 ? none / 2 : none * 2, 1e-5);
    }
  }
}

TEST(HistoryTest, SetsAndCountsAreAsGoodAsAnyOrder) {
  std::mt19937 random(4);
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    const SamplingParams params = {
        .top_p = .95, .repetition_penalty = 1.5, .frequency_penalty = .25, .presence_penalty = .5};
    Ids prompt = SomeIds(logits.size(), 10, random);
    Ids output = SomeIds(logits.size() / 4, 30, random);
    std::map<uint32_t, uint32_t> counted;
    for (const uint32_t id : output) ++counted[id];
    Ids count_ids;
    Ids counts;
    for (const auto& [id, count] : counted) {
      count_ids.push_back(id);
      counts.push_back(count);
    }
    const RowResult expected =
        Sample(logits, params,
               {.prompt_set = prompt, .output_count_ids = count_ids, .output_counts = counts});
    for (int order = 0; order < 3; ++order) {
      std::shuffle(prompt.begin(), prompt.end(), random);
      std::shuffle(output.begin(), output.end(), random);
      ExpectSame(Sample(logits, params, {.prompt_ids = prompt, .output_ids = output}), expected);
    }
    const Ids prompt_set(prompt.begin(), prompt.end());
    ExpectSame(Sample(logits, params, {.output_ids = output, .prompt_set = prompt_set}), expected);
  }
}

// Draws a sequence token by token until no token is left or `most` are drawn.
Ids Generate(const SamplingParams& params, uint32_t vocab, uint64_t seed, size_t most) {
  const std::vector<float> logits(vocab, 0.0f);
  Ids output;
  while (output.size() < most) {
    const RowHistory history = {.output_ids = output};
    RowInput row = LogitRow(logits, params, {.seed = seed, .step = output.size()});
    row.history = &history;
    const RowResult result = SampleRow(row);
    if (result.code == RowCode::kAllMasked) break;
    EXPECT_EQ(result.code, RowCode::kOk) << result.message;
    output.push_back(result.token_ids.at(0));
  }
  return output;
}

TEST(NoRepeatNgramPropertyTest, NoneEverRepeatsAndOnlyRepetitionsAreBanned) {
  for (const uint32_t size : {1u, 2u, 3u}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      constexpr uint32_t kVocab = 4;
      const Ids output = Generate({.no_repeat_ngram_size = size}, kVocab, seed, 1000);
      std::set<Ids> ngrams;
      for (auto end = output.begin() + size; end <= output.end(); ++end) {
        EXPECT_TRUE(ngrams.insert(Ids(end - size, end)).second) << size << " " << seed;
      }
      // It ended because each token would have repeated an n-gram.
      for (uint32_t id = 0; id < kVocab; ++id) {
        Ids next(output.end() - (size - 1), output.end());
        next.push_back(id);
        EXPECT_TRUE(ngrams.contains(next)) << size << " " << seed;
      }
    }
  }
}

TEST(BadWordsPropertyTest, AreNeverCompleted) {
  const SamplingParams params = {.bad_words = {{0}, {1, 2}, {3, 3, 1}}};
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Ids output = Generate(params, 4, seed, 200);
    ASSERT_EQ(output.size(), 200u);
    for (const Ids& word : params.bad_words) {
      EXPECT_EQ(std::search(output.begin(), output.end(), word.begin(), word.end()), output.end());
    }
    // The beginning of a bad word does occur.
    const Ids begin = {3, 3};
    EXPECT_NE(std::search(output.begin(), output.end(), begin.begin(), begin.end()), output.end());
  }
}

TEST(MinTokensTest, NoSequenceEndsEarlyAndEachMayEndThen) {
  // A stop token is drawn with probability .999 as soon as it is allowed.
  std::vector<float> logits(10, 0.0f);
  logits[4] = logits[7] = 8.4f;
  for (const uint32_t min_tokens : {0u, 1u, 5u, 40u}) {
    const SamplingParams params = {.min_tokens = min_tokens, .stop_ids = {4, 7}};
    for (uint64_t seed = 0; seed < 20; ++seed) {
      uint64_t step = 0;
      const auto stopped = [&] {
        const uint32_t id =
            SampleRow(LogitRow(logits, params, {.seed = seed, .step = step})).token_ids.at(0);
        return id == 4 || id == 7;
      };
      while (!stopped()) ++step;
      EXPECT_GE(step, min_tokens);
      EXPECT_LE(step, min_tokens + 3);  // once in 10^9
    }
  }
}

}  // namespace
}  // namespace token_sampler
