// The defined logarithm against the C library's.

#include "sampler/elementary.h"

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

}  // namespace
}  // namespace token_sampler
