// Compares the specified logarithm and exponential function with the C library's.

#include "sampler/arithmetic/elementary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace token_sampler {
namespace {

TEST(LogTest, IsExactAtOne) { EXPECT_EQ(Log(1.0), 0.0); }

TEST(LogTest, AgreesWithTheLibraryToTwoUnits) {
  uint64_t state = 1;
  for (int i = 0; i < 2'000'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    // Any normal positive double.
    const uint64_t bits = (state >> 12) | ((1 + (state >> 53) % 2046) << 52);
    double x;
    std::memcpy(&x, &bits, sizeof(x));
    const double expected = std::log(x);
    const double unit =
        std::max(std::abs(expected), 0.6931471805599453) * std::numeric_limits<double>::epsilon();
    ASSERT_NEAR(Log(x), expected, 2 * unit) << x;
  }
}

TEST(LogTest, IsAccurateNearOne) {
  for (int i = -1000; i <= 1000; ++i) {
    const double x = 1.0 + i * 1e-9;
    ASSERT_NEAR(Log(x), std::log1p(x - 1.0), 3e-16) << x;
  }
}

TEST(LogTest, TakesSubnormals) {
  for (const double x : {5e-324, 1e-310, 0x1p-1022}) {
    EXPECT_NEAR(Log(x), std::log(x), 4e-13) << x;
  }
}

TEST(ExpTest, IsExactAtZeroAndBounded) {
  EXPECT_EQ(Exp(0.0), 1.0);
  EXPECT_EQ(Exp(-1e9), 0.0);
  EXPECT_EQ(Exp(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(Exp(1e9), Exp(709.0));
  EXPECT_TRUE(std::isfinite(Exp(709.0)));
}

TEST(ExpTest, AgreesWithTheLibraryToTwoUnits) {
  for (int i = 0; i < 1'000'000; ++i) {
    const double x = -708.0 + 1417.0 * i / 1e6;
    const double expected = std::exp(x);
    ASSERT_NEAR(Exp(x), expected, 2 * expected * std::numeric_limits<double>::epsilon()) << x;
  }
}

TEST(PowTest, AgreesWithTheLibrary) {
  for (const double base : {1e-300, .3, 1.0, 1.75, 5e5}) {
    for (const double exponent : {0.0, .5, -.25, 1.0, 7.0}) {
      const double expected = std::pow(base, exponent);
      EXPECT_NEAR(Pow(base, exponent), expected, 1e-13 * expected) << base << ' ' << exponent;
    }
  }
}

}  // namespace
}  // namespace token_sampler
