// Tests that an index of a history finds what a search of all of it finds, however the history
// grew.

#include "sampler/repetition/repetition_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "sampler/repetition/breaker_finder.h"
#include "sampler/repetition/repetition.h"
#include "sampler/rows/adjustments.h"

namespace token_sampler {
namespace {

using Ids = std::vector<uint32_t>;

// Everything that adjustments do to tokens, in any order.
struct Found {
  explicit Found(const AdjustmentLists& lists)
      : banned(lists.banned().begin(), lists.banned().end()),
        repeated(lists.repeated().begin(), lists.repeated().end()),
        repeating(lists.repeating().begin(), lists.repeating().end()) {
    for (const uint32_t id : lists.counted()) counted[id] = lists.CountOf(id);
    for (const DryPenalty& penalty : lists.dry()) dry[penalty.id] = penalty.value;
  }

  bool operator==(const Found& other) const {
    return banned == other.banned && repeated == other.repeated && repeating == other.repeating &&
           counted == other.counted && dry == other.dry;
  }

  std::multiset<uint32_t> banned;
  std::set<uint32_t> repeated;
  std::set<uint32_t> repeating;
  std::map<uint32_t, uint32_t> counted;
  std::map<uint32_t, float> dry;
};

class Random {
 public:
  explicit Random(uint32_t seed) : generator_(seed) {}

  uint32_t Below(uint32_t end) { return static_cast<uint32_t>(generator_() % end); }
  Ids SomeIds(uint32_t size, uint32_t end) {
    Ids ids(size);
    for (uint32_t& id : ids) id = Below(end);
    return ids;
  }

 private:
  std::mt19937 generator_;
};

SamplingParams SomeParams(uint32_t vocab, Random& random) {
  SamplingParams params;
  const uint32_t kind = random.Below(4);
  if (kind != 0) {
    params.dry.multiplier = 0.8;
    params.dry.allowed_length = 1 + random.Below(6);
    if (random.Below(2) == 0) params.dry.last_n = static_cast<int32_t>(random.Below(60));
    const uint32_t breakers = random.Below(4);
    for (uint32_t i = 0; i < breakers; ++i) {
      params.dry.breakers.push_back(random.SomeIds(1 + random.Below(4), vocab));
    }
  }
  if (kind != 1) params.no_repeat_ngram_size = 2 + random.Below(6);
  if (kind == 3) params.no_repeat_ngram_size = 1;
  if (random.Below(2) == 0) params.repetition_penalty = 1.5;
  if (random.Below(2) == 0) params.frequency_penalty = 0.5;
  if (random.Below(3) == 0) params.penalty_last_n = static_cast<int32_t>(random.Below(40));
  if (random.Below(2) == 0) params.bad_words = {random.SomeIds(3, vocab), random.SomeIds(2, vocab)};
  return params;
}

// A growing history with its index. The index of the prompt is made once.
class History {
 public:
  History(const RepetitionRules& rules, const Ids& prompt)
      : prompt_(prompt), of_prompt_(&rules, nullptr), index_(Make(rules)) {}

  // A fork shares the prompt's index.
  History(const History& parent, const Ids& output)
      : prompt_(parent.prompt_),
        of_prompt_(parent.of_prompt_),
        output_(output),
        index_(parent.index_) {}

  History(const History&) = delete;

  const Ids& output() const { return output_; }
  HistoryIds ids() const { return {prompt_, output_}; }
  const RepetitionIndex& index() const { return index_; }

  void Append(uint32_t id) {
    if (output_.size() == index_.capacity()) index_.Reserve(2 * output_.size() + 1, ids());
    output_.push_back(id);
    index_.Append(ids());
  }

  void RemoveNewest(size_t count) {
    index_.RemoveNewest(ids(), count);
    output_.resize(output_.size() - count);
  }

  RowHistory Searched() const {
    return {.prompt_ids = prompt_, .output_ids = output_, .skip_unknown_ids = true};
  }

  RowHistory Indexed() {
    counts_.clear();
    count_ids_.clear();
    std::map<uint32_t, uint32_t> counts;
    for (const uint32_t id : output_) ++counts[id];
    for (const auto& [id, count] : counts) {
      count_ids_.push_back(id);
      counts_.push_back(count);
    }
    const std::set<uint32_t> set(prompt_.begin(), prompt_.end());
    prompt_set_.assign(set.begin(), set.end());
    RowHistory history = Searched();
    history.prompt_set = prompt_set_;
    history.output_count_ids = count_ids_;
    history.output_counts = counts_;
    history.index = &index_;
    return history;
  }

 private:
  RepetitionIndex Make(const RepetitionRules& rules) {
    of_prompt_.Reserve(prompt_.size(), ids());
    for (size_t i = 0; i < prompt_.size(); ++i) of_prompt_.Append(ids());
    return RepetitionIndex(&rules, &of_prompt_);
  }

  const Ids prompt_;
  RepetitionIndex of_prompt_;
  Ids output_;
  RepetitionIndex index_;
  Ids prompt_set_;
  Ids count_ids_;
  Ids counts_;
};

Found Collect(const SamplingParams& params, uint32_t vocab, const RowHistory& history,
              AdjustmentLists& lists) {
  RowInput row;
  row.vocab = vocab;
  row.params = &params;
  row.history = &history;
  EXPECT_TRUE(CheckHistory(row).ok());
  lists.Collect(row);
  Found found(lists);
  std::set<uint32_t> all(found.repeated);
  all.insert(found.banned.begin(), found.banned.end());
  all.insert(found.repeating.begin(), found.repeating.end());
  for (const auto& [id, count] : found.counted) all.insert(id);
  for (const auto& [id, penalty] : found.dry) all.insert(id);
  EXPECT_LE(all.size(), MostAdjustedTokens(row));
  return found;
}

// Returns a token that often equals the one `period` tokens before, so that repetitions are long.
uint32_t NextToken(const HistoryIds& ids, uint32_t period, uint32_t end, Random& random) {
  if (ids.size() >= period && random.Below(8) != 0) return ids[ids.size() - period];
  return random.Below(end);
}

TEST(RepetitionIndexTest, LeadsToWhatASearchFinds) {
  AdjustmentLists lists;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    Random random(seed);
    const uint32_t vocab = 1 + random.Below(6);
    const uint32_t end = vocab + random.Below(2);  // with 1, some ids are unknown
    const SamplingParams params = SomeParams(vocab, random);
    const RepetitionRules rules(params, vocab);
    const auto start = std::make_unique<History>(rules, random.SomeIds(random.Below(50), end));
    std::vector<std::unique_ptr<History>> histories;
    histories.push_back(std::make_unique<History>(*start, Ids()));
    for (int step = 0; step < 150; ++step) {
      History& history = *histories[random.Below(static_cast<uint32_t>(histories.size()))];
      const uint32_t what = random.Below(16);
      if (what == 0 && histories.size() < 4) {
        histories.push_back(std::make_unique<History>(history, history.output()));
      } else if (what <= 2) {
        history.RemoveNewest(std::min<size_t>(random.Below(9), history.output().size()));
      } else {
        for (uint32_t i = 1 + random.Below(4); i > 0; --i) {
          history.Append(NextToken(history.ids(), 1 + random.Below(8), end, random));
        }
      }
      ASSERT_EQ(Collect(params, vocab, history.Indexed(), lists),
                Collect(params, vocab, history.Searched(), lists))
          << "seed " << seed << ", step " << step;
    }
  }
}

TEST(RepetitionIndexTest, LooksAtTheFewPlacesThatMayMatter) {
  SamplingParams params;
  params.dry.multiplier = 1;
  params.no_repeat_ngram_size = 3;
  constexpr uint32_t kIds = 1000;
  const RepetitionRules rules(params, kIds);
  ASSERT_EQ(rules.gram(), 2u);
  Random random(1);
  History history(rules, random.SomeIds(200'000, kIds));
  size_t looked_at = 0;
  for (int step = 0; step < 1000; ++step) {
    history.Append(random.Below(kIds));
    const size_t alike = history.index().CountAlike(history.ids());
    size_t visited = 0;
    history.index().VisitAlike(history.ids(), [&](size_t) { return ++visited > 0; });
    ASSERT_LE(visited, alike);
    looked_at += alike;
  }
  // About one place in 10^6 has the same two tokens. With as many chains as tokens, a chain has
  // about one other place.
  EXPECT_LT(looked_at, 1000 * 5);
}

TEST(RepetitionIndexTest, OneTokenAgainAndAgainIsComparedOnce) {
  SamplingParams params;
  params.dry.multiplier = 1;
  const RepetitionRules rules(params, 8);
  // Quadratic work on these would take minutes.
  History history(rules, Ids(300'000, 7));
  std::vector<size_t> lengths;
  RepetitionFinder().VisitTails({history.ids(), history.index()}, 0, nullptr,
                                [&](uint32_t, size_t length) { lengths.push_back(length); });
  ASSERT_EQ(lengths.size(), 300'000u - 2);
  for (size_t i = 0; i < lengths.size(); ++i) ASSERT_EQ(lengths[i], 300'000 - 1 - i);
}

TEST(RepetitionRulesTest, ApplyWhereRepetitionsAreLookedFor) {
  EXPECT_FALSE(RepetitionRules::Apply({}));
  EXPECT_FALSE(RepetitionRules::Apply({.no_repeat_ngram_size = 1}));
  EXPECT_TRUE(RepetitionRules::Apply({.no_repeat_ngram_size = 2}));
  SamplingParams params;
  params.dry.multiplier = 1;
  EXPECT_TRUE(RepetitionRules::Apply(params));
  params.dry.last_n = 0;
  EXPECT_FALSE(RepetitionRules::Apply(params));
}

// Returns the number of tokens of `ids` after the last breaker from `begin` on, by comparing all
// breakers.
size_t SlowLengthAfterBreakers(const std::vector<Ids>& breakers, const Ids& ids, size_t begin) {
  for (size_t end = ids.size(); end > begin; --end) {
    for (const Ids& breaker : breakers) {
      if (breaker.size() > end - begin) continue;
      if (std::equal(breaker.begin(), breaker.end(),
                     ids.begin() + static_cast<std::ptrdiff_t>(end - breaker.size()))) {
        return ids.size() - end;
      }
    }
  }
  return ids.size() - begin;
}

TEST(RepetitionIndexTest, KnowsTheLastBreakerOfAnyWindow) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    SamplingParams params;
    params.dry.multiplier = 1;
    for (int i = 0; i < 3; ++i)
      params.dry.breakers.push_back(random.SomeIds(1 + random.Below(5), 3));
    const RepetitionRules rules(params, 3);
    const Ids prompt = random.SomeIds(random.Below(20), 3);
    History history(rules, prompt);
    Ids ids = prompt;
    for (int step = 0; step < 60; ++step) {
      if (random.Below(3) == 0 && ids.size() > prompt.size()) {
        const size_t own = ids.size() - prompt.size();
        const size_t count = 1 + random.Below(static_cast<uint32_t>(own));
        history.RemoveNewest(count);
        ids.resize(ids.size() - count);
      } else {
        ids.push_back(random.Below(3));
        history.Append(ids.back());
      }
      for (size_t begin = 0; begin <= ids.size(); ++begin) {
        ASSERT_EQ(history.index().LengthAfterBreakers(begin),
                  SlowLengthAfterBreakers(params.dry.breakers, ids, begin))
            << "seed " << seed << ", step " << step << ", from " << begin;
      }
    }
  }
}

// Returns the length of the shortest breaker at the end of the first `size` tokens, by comparing
// all breakers.
uint32_t SlowShortest(const std::vector<Ids>& breakers, const Ids& ids, size_t size) {
  size_t shortest = 0;
  for (const Ids& breaker : breakers) {
    if (breaker.size() > size || (shortest != 0 && breaker.size() >= shortest)) continue;
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>(size);
    if (std::equal(breaker.begin(), breaker.end(),
                   end - static_cast<std::ptrdiff_t>(breaker.size()))) {
      shortest = breaker.size();
    }
  }
  return static_cast<uint32_t>(shortest);
}

TEST(BreakerFinderTest, FindsTheShortestThatEndsAtEachToken) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    Random random(seed);
    const uint32_t vocab = 1 + random.Below(4);
    std::vector<Ids> breakers;
    for (uint32_t i = 1 + random.Below(8); i > 0; --i) {
      breakers.push_back(random.SomeIds(1 + random.Below(6), vocab));
    }
    const Ids ids = random.SomeIds(100, vocab);
    const BreakerFinder finder(breakers);
    BreakerFinder::State state = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      state = finder.Next(state, ids[i]);
      ASSERT_EQ(finder.ShortestAtEnd(state), SlowShortest(breakers, ids, i + 1))
          << "seed " << seed << ", token " << i;
    }
  }
}

}  // namespace
}  // namespace token_sampler
