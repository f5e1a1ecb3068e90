// Chi-square for tests of distributions. A test that uses it states its false-alarm rate; the seeds
// are fixed, so a failure is a defect and not bad luck.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_STATISTICS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_STATISTICS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace token_sampler::testing {

// The sum of (observed - expected)^2 / expected over the cells whose probability is above 0. A cell
// of probability 0 must be empty; each other cell must expect at least 10.
inline double ChiSquare(const std::vector<uint64_t>& observed,
                        const std::vector<double>& probabilities) {
  EXPECT_EQ(observed.size(), probabilities.size());
  uint64_t draws = 0;
  for (const uint64_t count : observed) draws += count;
  double statistic = 0;
  for (size_t i = 0; i < observed.size(); ++i) {
    if (probabilities[i] == 0) {
      EXPECT_EQ(observed[i], 0u) << "cell " << i << " has probability 0";
      continue;
    }
    const double expected = probabilities[i] * static_cast<double>(draws);
    EXPECT_GE(expected, 10) << "cell " << i << " expects too few draws for the statistic";
    const double difference = static_cast<double>(observed[i]) - expected;
    statistic += difference * difference / expected;
  }
  return statistic;
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_STATISTICS_H_
