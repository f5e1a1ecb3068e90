#include "client/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace token_sampler::client {
namespace {

constexpr double kPercents[] = {0, 0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100};

// Returns the smallest value with at least `percent` of the sorted values at or below it.
uint64_t ExactPercentile(const std::vector<uint64_t>& sorted, double percent) {
  const double rank = std::ceil(percent * static_cast<double>(sorted.size()) / 100.0);
  return sorted[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

void ExpectMatchesSort(const Histogram& histogram, std::vector<uint64_t> values) {
  std::sort(values.begin(), values.end());
  EXPECT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
  for (double percent : kPercents) {
    const uint64_t exact = ExactPercentile(values, percent);
    const uint64_t got = histogram.Percentile(percent);
    EXPECT_GE(got, exact) << percent << " %";
    EXPECT_LE(static_cast<double>(got - exact),
              Histogram::kRelativeError * static_cast<double>(exact))
        << percent << " %, exact " << exact << ", got " << got;
  }
}

// Returns values of every magnitude: a random number of random bits.
std::vector<uint64_t> RandomValues(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> values(count);
  for (uint64_t& value : values) {
    const int shift = static_cast<int>(random() % 64);
    value = random() >> shift;
  }
  return values;
}

TEST(HistogramTest, PercentilesMatchASortWithinTheStatedError) {
  for (size_t count : {1u, 2u, 3u, 10u, 999u, 100000u}) {
    const std::vector<uint64_t> values = RandomValues(count, count);
    Histogram histogram;
    for (uint64_t value : values) histogram.Record(value);
    ExpectMatchesSort(histogram, values);
  }
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 1000; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.Percentile(50), 500u);
  EXPECT_EQ(histogram.Percentile(99), 990u);
  EXPECT_EQ(histogram.Percentile(99.9), 999u);
  EXPECT_EQ(histogram.Percentile(100), 1000u);
  EXPECT_EQ(histogram.Percentile(0), 1u);
  EXPECT_DOUBLE_EQ(histogram.Mean(), 500.5);
}

TEST(HistogramTest, EveryBucketBoundaryKeepsTheStatedError) {
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    for (uint64_t value :
         {power - 1, power, power + 1, power + power / 512, power | (power >> 1)}) {
      Histogram histogram;
      // A second value above keeps the maximum from hiding the bucket's own bound.
      histogram.Record(value);
      histogram.Record(value);
      histogram.Record(UINT64_MAX);
      ExpectMatchesSort(histogram, {value, value, UINT64_MAX});
    }
  }
}

TEST(HistogramTest, MergeIsAsIfAllHadBeenRecordedInOne) {
  const std::vector<uint64_t> first = RandomValues(5000, 1);
  const std::vector<uint64_t> second = RandomValues(300, 2);
  Histogram merged, other;
  for (uint64_t value : first) merged.Record(value);
  for (uint64_t value : second) other.Record(value);
  merged.Merge(other);
  merged.Merge(Histogram());
  std::vector<uint64_t> all = first;
  all.insert(all.end(), second.begin(), second.end());
  ExpectMatchesSort(merged, all);
}

TEST(HistogramTest, EmptyIsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.min(), 0u);
  EXPECT_EQ(histogram.max(), 0u);
  EXPECT_EQ(histogram.Percentile(50), 0u);
  EXPECT_EQ(histogram.Mean(), 0.0);
}

}  // namespace
}  // namespace token_sampler::client
