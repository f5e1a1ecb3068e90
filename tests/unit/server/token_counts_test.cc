// Tests that the counts of a sequence's tokens equal those of counting all of it again.

#include "server/sequences/token_counts.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <vector>

namespace token_sampler {
namespace {

TEST(TokenCountsTest, AreThoseOfTheTokensThatAreLeft) {
  TokenCounts counts;
  counts.Reserve(50);
  std::vector<uint32_t> tokens;
  std::mt19937 generator(1);
  for (int step = 0; step < 5000; ++step) {
    // The sequence grows to about 40 tokens, many of which repeat.
    if (tokens.size() < generator() % 80) {
      tokens.push_back(static_cast<uint32_t>(generator() % 50));
      counts.Add(tokens.back());
    } else if (!tokens.empty()) {
      counts.Remove(tokens.back());
      tokens.pop_back();
    }
    std::map<uint32_t, uint32_t> expected;
    for (const uint32_t id : tokens) ++expected[id];
    std::map<uint32_t, uint32_t> found;
    for (size_t i = 0; i < counts.ids().size(); ++i) found[counts.ids()[i]] = counts.counts()[i];
    ASSERT_EQ(counts.ids().size(), counts.counts().size());
    ASSERT_EQ(counts.ids().size(), expected.size());
    ASSERT_EQ(found, expected);
  }
  EXPECT_EQ(counts.capacity(), 50u);
}

}  // namespace
}  // namespace token_sampler
