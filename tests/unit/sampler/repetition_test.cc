// Tests that the linear-time search finds the same repetitions as one that compares every place.

#include "sampler/repetition/repetition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace token_sampler {
namespace {

using Tails = std::vector<std::pair<uint32_t, uint64_t>>;

Tails SlowTails(const std::vector<uint32_t>& history) {
  Tails tails;
  for (size_t behind = 1; behind < history.size(); ++behind) {
    const size_t end = history.size() - behind;
    uint64_t length = 0;
    while (length < end && history[end - 1 - length] == history[history.size() - 1 - length]) {
      ++length;
    }
    if (length > 0) tails.emplace_back(history[end], length);
  }
  return tails;
}

bool Ends(const std::vector<uint32_t>& history, size_t end, const std::vector<uint32_t>& breaker) {
  return breaker.size() <= end &&
         std::equal(breaker.begin(), breaker.end(),
                    history.begin() + static_cast<std::ptrdiff_t>(end - breaker.size()));
}

// Returns the penalties of DRY, found by comparing every place.
std::map<uint32_t, float> SlowPenalties(const Dry& dry, const std::vector<uint32_t>& history) {
  size_t limit = 0;
  const auto breaks = [&](size_t end) {
    return std::any_of(dry.breakers.begin(), dry.breakers.end(),
                       [&](const auto& breaker) { return Ends(history, end, breaker); });
  };
  while (limit < history.size() && !breaks(history.size() - limit)) ++limit;
  std::map<uint32_t, float> penalties;
  for (const auto& [next_id, agrees] : SlowTails(history)) {
    const size_t length = std::min<size_t>(agrees, limit);
    const std::vector<uint32_t> alone = {next_id};
    const bool is_breaker =
        std::find(dry.breakers.begin(), dry.breakers.end(), alone) != dry.breakers.end();
    if (length < dry.allowed_length || is_breaker) continue;
    const double power = std::pow(dry.base, static_cast<double>(length - dry.allowed_length));
    float& penalty = penalties[next_id];
    penalty = std::max(penalty, static_cast<float>(dry.multiplier * power));
  }
  return penalties;
}

class RandomIds {
 public:
  // Returns `count` ids below `vocab`.
  std::vector<uint32_t> Take(size_t count, uint32_t vocab) {
    std::vector<uint32_t> ids(count);
    for (uint32_t& id : ids) id = Below(vocab);
    return ids;
  }

  uint32_t Below(uint32_t end) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 40) % end;
  }

 private:
  uint64_t state_ = 1;
};

TEST(RepetitionFinderTest, FindsTheNewestBreakerOfAnyNumber) {
  RepetitionFinder finder;
  RandomIds random;
  size_t broken = 0;
  for (int round = 0; round < 1000; ++round) {
    // A phrase that occurs again and again, with other tokens in between.
    const std::vector<uint32_t> phrase = random.Take(2 + random.Below(30), 8);
    std::vector<uint32_t> history;
    const size_t size = random.Below(1500);
    while (history.size() < size) {
      history.insert(history.end(), phrase.begin(), phrase.end());
      if (random.Below(3) == 0) history.push_back(8 + random.Below(4));
    }
    Dry dry;
    dry.multiplier = 1;
    dry.base = 1.25;
    dry.allowed_length = 1 + random.Below(3);
    const size_t count = random.Below(round % 2 == 0 ? 4 : kMaxDryBreakers);
    for (size_t i = 0; i < count; ++i) {
      dry.breakers.push_back(random.Take(1 + random.Below(kMaxDryBreakerTokens), 20));
    }
    // Add a breaker that occurs in the history, and others that nearly do.
    if (!history.empty()) {
      const size_t begin = random.Below(static_cast<uint32_t>(history.size()));
      const size_t length =
          std::min<size_t>(1 + random.Below(kMaxDryBreakerTokens), history.size() - begin);
      const auto from = history.begin() + static_cast<std::ptrdiff_t>(begin);
      std::vector<uint32_t> found(from, from + static_cast<std::ptrdiff_t>(length));
      dry.breakers.push_back(found);
      for (uint32_t near = 0; near < random.Below(8); ++near) {
        found.front() = 100 + near;
        dry.breakers.push_back(found);
      }
    }
    const std::map<uint32_t, float> expected = SlowPenalties(dry, history);
    broken += expected.empty() ? 1 : 0;
    std::map<uint32_t, float> actual;
    for (const DryPenalty& penalty : finder.FindDryPenalties(dry, history, 200, nullptr)) {
      EXPECT_TRUE(actual.emplace(penalty.id, penalty.value).second);
    }
    ASSERT_EQ(actual.size(), expected.size()) << "round " << round;
    for (const auto& [id, value] : expected) {
      ASSERT_TRUE(actual.contains(id)) << "round " << round;
      ASSERT_FLOAT_EQ(actual[id], value) << "round " << round << ", id " << id;
    }
  }
  EXPECT_LT(broken, 700u);
}

TEST(RepetitionFinderTest, AgreesWithLookingAtEveryPlace) {
  RepetitionFinder finder;
  uint64_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint32_t> history;
    const int size = round % 40;
    const uint32_t ids = 1 + static_cast<uint32_t>(round) / 40 % 4;
    for (int i = 0; i < size; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      history.push_back(static_cast<uint32_t>(state >> 40) % ids);
    }
    Tails found;
    finder.VisitTails(history, nullptr, [&](uint32_t next_id, size_t length) {
      found.emplace_back(next_id, length);
    });
    ASSERT_EQ(found, SlowTails(history)) << "round " << round;
  }
}

TEST(RepetitionFinderTest, IsLinear) {
  // Quadratic work on these would take hours.
  const std::vector<uint32_t> same(1'000'000, 7);
  size_t tails = 0;
  RepetitionFinder().VisitTails(same, nullptr, [&](uint32_t, size_t) { ++tails; });
  EXPECT_EQ(tails, same.size() - 1);
}

}  // namespace
}  // namespace token_sampler
