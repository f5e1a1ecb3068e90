// Tests the weight function: spot values, its error, its bounds.

#include "sampler/arithmetic/weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace token_sampler {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

TEST(LogitWeightTest, SpotValues) {
  const WeightScale scale = MakeWeightScale(1.0, 44);
  EXPECT_EQ(BitsOf(scale.high), 0x3fb8aa3bu);
  EXPECT_EQ(BitsOf(scale.low), 0x32a57060u);
  EXPECT_EQ(LogitWeight(0.0f, scale), 17592186044416u);
  EXPECT_EQ(LogitWeight(-0.5f, scale), 10670200193024u);
  EXPECT_EQ(LogitWeight(-1.0f, scale), 6471803731968u);
  EXPECT_EQ(LogitWeight(-10.0f, scale), 798684032u);
  EXPECT_EQ(LogitWeight(-30.0f, scale), 2u);
  EXPECT_EQ(LogitWeight(-50.0f, scale), 0u);
  EXPECT_EQ(LogitWeight(-std::numeric_limits<float>::infinity(), scale), 0u);
  EXPECT_EQ(LogitWeight(-std::numeric_limits<float>::max(), MakeWeightScale(1e-6, 44)), 0u);
}

TEST(LogitWeightTest, LargestIsExactlyOneAtEveryScale) {
  for (const double temperature : {1e-6, 0.05, 0.7, 1.0, 1.3, 100.0, 1e6}) {
    for (const int fraction_bits : {39, 43, 44}) {
      EXPECT_EQ(LogitWeight(0.0f, MakeWeightScale(temperature, fraction_bits)),
                uint64_t{1} << fraction_bits);
    }
  }
}

TEST(LogitWeightTest, RelativeErrorIsBelowTheStatedBound) {
  // The stated error of weights above 2^24 is 2^-23.8. Tests every 4001st float of the range.
  const WeightScale scale = MakeWeightScale(1.0, 44);
  double largest_error = 0;
  for (uint32_t bits = 0xab8cbcccu; bits <= BitsOf(-13.86f); bits += 4001) {
    const float difference = FromBits(bits);
    const double exact = std::exp2(static_cast<double>(difference) * 1.4426950408889634 + 44.0);
    const double actual = static_cast<double>(LogitWeight(difference, scale));
    largest_error = std::max(largest_error, std::abs(actual - exact) / exact);
  }
  EXPECT_LT(largest_error, std::exp2(-23.8));
  EXPECT_GT(largest_error, std::exp2(-25.0));  // the loop found the hard cases
}

TEST(PlainWeightTest, KeepsRatiosOfSmallIntegersExactly) {
  const double scale = PlainWeightScale(5.0f, 44);
  const uint64_t one = PlainWeight(1.0f, scale);
  EXPECT_EQ(one, uint64_t{1} << 41);  // 5 < 2^3
  EXPECT_EQ(PlainWeight(2.0f, scale), 2 * one);
  EXPECT_EQ(PlainWeight(5.0f, scale), 5 * one);
  EXPECT_EQ(PlainWeight(0.0f, scale), 0u);
}

TEST(PlainWeightTest, ExtremeMagnitudesStayInRange) {
  for (const float largest :
       {std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::min(), 1.0f,
        std::numeric_limits<float>::max()}) {
    const uint64_t weight = PlainWeight(largest, PlainWeightScale(largest, 44));
    EXPECT_GE(weight, uint64_t{1} << 43) << largest;
    EXPECT_LE(weight, uint64_t{1} << 44) << largest;
  }
}

TEST(PlainWeightTest, RoundsHalfToEven) {
  // The largest value 1 has weight 2^43, so 2^-44 is half a unit and 3 * 2^-44 is one and a half.
  const double scale = PlainWeightScale(1.0f, 44);
  EXPECT_EQ(PlainWeight(std::ldexp(1.0f, -44), scale), 0u);
  EXPECT_EQ(PlainWeight(std::ldexp(3.0f, -44), scale), 2u);
}

TEST(FractionBitsTest, SumOfTheLargestWeightsFits) {
  EXPECT_EQ(FractionBits(1), 44);
  EXPECT_EQ(FractionBits(1 << 19), 44);
  EXPECT_EQ(FractionBits((1 << 19) + 1), 43);
  EXPECT_EQ(FractionBits(1 << 20), 43);
  EXPECT_EQ(FractionBits(1 << 24), 39);
}

}  // namespace
}  // namespace token_sampler
