// Tests the conversion to float32.

#include "sampler/arithmetic/data_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace token_sampler {
namespace {

TEST(WidenFloat16Test, EveryValueIsExact) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 0x1f);
    const double fraction = (bits & 0x3ff) / 1024.0;
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    const float actual = WidenFloat16(static_cast<uint16_t>(bits));
    if (exponent == 31) {
      if (fraction == 0) {
        EXPECT_EQ(actual, sign * std::numeric_limits<double>::infinity());
      } else {
        EXPECT_TRUE(std::isnan(actual)) << bits;
      }
      continue;
    }
    const double expected =
        exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1.0 + fraction, exponent - 15);
    EXPECT_EQ(actual, sign * expected) << bits;
    EXPECT_EQ(std::signbit(actual), (bits & 0x8000) != 0) << bits;
  }
}

TEST(WidenBFloat16Test, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(WidenBFloat16(0x3f80), 1.0f);
  EXPECT_EQ(WidenBFloat16(0xc040), -3.0f);
  EXPECT_EQ(WidenBFloat16(0xff80), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(WidenBFloat16(0x0001), std::ldexp(1.0f, -133));
  EXPECT_TRUE(std::isnan(WidenBFloat16(0x7fc0)));
}

TEST(LoadAsFloatTest, Float64RoundsToNearestEven) {
  const double values[] = {1.0 + std::ldexp(1.0, -24), 1.0 + 3 * std::ldexp(1.0, -24), 1e300,
                           -1e300, 1e-300};
  EXPECT_EQ(LoadAsFloat(values, DataType::kFloat64, 0), 1.0f);
  EXPECT_EQ(LoadAsFloat(values, DataType::kFloat64, 1), 1.0f + std::ldexp(1.0f, -22));
  EXPECT_EQ(LoadAsFloat(values, DataType::kFloat64, 2), std::numeric_limits<float>::infinity());
  EXPECT_EQ(LoadAsFloat(values, DataType::kFloat64, 3), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(LoadAsFloat(values, DataType::kFloat64, 4), 0.0f);
}

TEST(LoadAsFloatTest, TakesUnalignedValues) {
  char bytes[9] = {};
  const float value = 2.5f;
  std::memcpy(bytes + 5, &value, sizeof(value));
  EXPECT_EQ(LoadAsFloat(bytes + 1, DataType::kFloat32, 1), 2.5f);
}

}  // namespace
}  // namespace token_sampler
