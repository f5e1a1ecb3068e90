// Tests known answers of Philox4x32-10 (Random123, tests/kat_vectors) and of the counter layout.

#include "sampler/arithmetic/philox.h"

#include <gtest/gtest.h>

namespace token_sampler {
namespace {

void ExpectBlock(PhiloxBlock actual, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
  EXPECT_EQ(actual.word[0], w0);
  EXPECT_EQ(actual.word[1], w1);
  EXPECT_EQ(actual.word[2], w2);
  EXPECT_EQ(actual.word[3], w3);
}

TEST(PhiloxTest, MatchesRandom123) {
  ExpectBlock(Philox4x32({{0, 0, 0, 0}}, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  constexpr uint32_t kOnes = 0xffffffff;
  ExpectBlock(Philox4x32({{kOnes, kOnes, kOnes, kOnes}}, kOnes, kOnes), 0x408f276d, 0x41c83b0e,
              0xa20bc7c6, 0x6d5451fd);
  ExpectBlock(
      Philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0),
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

struct LayoutCase {
  uint64_t seed;
  uint64_t step;
  uint64_t draw_of_2_to_44;
  uint64_t draw_of_10_to_15;
};

class LayoutTest : public testing::TestWithParam<LayoutCase> {};

TEST_P(LayoutTest, MatchesKnownDraws) {
  const LayoutCase& expected = GetParam();
  const Uint128 uniform =
      UniformBits({.seed = expected.seed, .step = expected.step}, RandomDomain::kToken, 0);
  EXPECT_EQ(ScaleUniform(uniform, uint64_t{1} << 44), expected.draw_of_2_to_44);
  EXPECT_EQ(ScaleUniform(uniform, 1'000'000'000'000'000), expected.draw_of_10_to_15);
}

void PrintTo(const LayoutCase& c, std::ostream* os) {
  *os << "seed " << c.seed << " step " << c.step;
}

INSTANTIATE_TEST_SUITE_P(KnownAnswers, LayoutTest,
                         testing::Values(LayoutCase{0, 0, 10651749419973, 605481853879921},
                                         LayoutCase{0, 1, 652565969690, 37094080749417},
                                         LayoutCase{1, 0, 12512760330591, 711268076576694},
                                         LayoutCase{42, 0, 5996499792171, 340861549385178},
                                         LayoutCase{42, 1000, 16779730799515, 953817266208434},
                                         LayoutCase{0xdeadbeefcafef00d, 1000, 14406502591492,
                                                    818914861127502}));

TEST(UniformBitsTest, EveryPartOfTheKeyCounts) {
  const RowKey key{.seed = 5, .step = 6, .stream = 7};
  const Uint128 base = UniformBits(key, RandomDomain::kToken, 0);
  EXPECT_NE(base, UniformBits({.seed = 4, .step = 6, .stream = 7}, RandomDomain::kToken, 0));
  EXPECT_NE(base, UniformBits({5 + (uint64_t{1} << 32), 6, 7}, RandomDomain::kToken, 0));
  EXPECT_NE(base, UniformBits({5, 6 + (uint64_t{1} << 32), 7}, RandomDomain::kToken, 0));
  EXPECT_NE(base, UniformBits({5, 7, 7}, RandomDomain::kToken, 0));
  EXPECT_NE(base, UniformBits({5, 6, 8}, RandomDomain::kToken, 0));
  EXPECT_NE(base, UniformBits(key, RandomDomain::kXtcCoin, 0));
  EXPECT_NE(base, UniformBits(key, RandomDomain::kToken, 1));
}

}  // namespace
}  // namespace token_sampler
