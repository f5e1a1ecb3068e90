// Repetitions found in linear time are those that looking at every place finds.

#include "sampler/repetition.h"

#include <gtest/gtest.h>

#include <cstdint>
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
