// Tests exact scaling beyond 64 bits.

#include "sampler/arithmetic/wide_integer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace token_sampler {
namespace {

constexpr Uint128 kAllOnes = ~Uint128{0};

TEST(ScaleUniformTest, CoversExactlyTheRangeBelowTotal) {
  for (const uint64_t total : {uint64_t{1}, uint64_t{3}, uint64_t{1} << 44, uint64_t{1} << 63}) {
    EXPECT_EQ(ScaleUniform(0, total), 0u);
    EXPECT_EQ(ScaleUniform(kAllOnes, total), total - 1);
    EXPECT_EQ(ScaleUniform(Uint128{1} << 127, total), total / 2);
  }
}

TEST(ScaleUniformTest, SplitsTheUnitIntervalExactly) {
  // Thirds: the first U that maps to 1 is ceil(2^128 / 3).
  const Uint128 third = kAllOnes / 3 + 1;
  EXPECT_EQ(ScaleUniform(third - 1, 3), 0u);
  EXPECT_EQ(ScaleUniform(third, 3), 1u);
}

TEST(CeilFractionTest, IsExact) {
  EXPECT_EQ(CeilFraction(0.0, 1000), 0u);
  EXPECT_EQ(CeilFraction(1.0, 1000), 1000u);
  EXPECT_EQ(CeilFraction(0.5, 1000), 500u);
  EXPECT_EQ(CeilFraction(0.5, 1001), 501u);
  // 0.1 as a double is above one tenth, 0.3 is below three tenths.
  EXPECT_EQ(CeilFraction(0.1, 10), 2u);
  EXPECT_EQ(CeilFraction(0.3, 10), 3u);
  EXPECT_EQ(CeilFraction(std::nextafter(1.0, 0.0), uint64_t{1} << 62),
            (uint64_t{1} << 62) - (uint64_t{1} << 9));
  EXPECT_EQ(CeilFraction(1.0, uint64_t{1} << 63), uint64_t{1} << 63);
}

TEST(CeilFractionTest, TinyFractionsAskForOneUnit) {
  EXPECT_EQ(CeilFraction(5e-324, uint64_t{1} << 62), 1u);
  EXPECT_EQ(CeilFraction(1e-300, uint64_t{1} << 62), 1u);
  EXPECT_EQ(CeilFraction(std::ldexp(1.0, -76), uint64_t{1} << 62), 1u);
  EXPECT_EQ(CeilFraction(5e-324, 0), 0u);
}

}  // namespace
}  // namespace token_sampler
