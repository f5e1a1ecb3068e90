// Tests the weight function at every float of a range, 1.5 billion in all.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/weight.h"

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

// Returns the sum of w(d) * (2 * bits(d) + 1) mod 2^64 over every float d from -1e-12 down to -46
// ln 2 * T. A build (GCC, Clang, scalar, AVX-512, CUDA) in which it differs is broken.
uint64_t Checksum(double temperature) {
  const WeightScale scale = MakeWeightScale(temperature, 44);
  const uint32_t last = BitsOf(static_cast<float>(-46.0 * 0.6931471805599453 * temperature));
  uint64_t sum = 0;
  for (uint32_t bits = 0xab8cbcccu; bits <= last; ++bits) {
    sum += LogitWeight(FromBits(bits), scale) * (2 * uint64_t{bits} + 1);
  }
  return sum;
}

TEST(LogitWeightChecksumTest, Temperature1) { EXPECT_EQ(Checksum(1.0), 0x8b3527c29dcb488eu); }
TEST(LogitWeightChecksumTest, Temperature0_7) { EXPECT_EQ(Checksum(0.7), 0xd8bb96e98e6545fau); }
TEST(LogitWeightChecksumTest, Temperature1_3) { EXPECT_EQ(Checksum(1.3), 0xe93b6e3edcc4b9a8u); }
TEST(LogitWeightChecksumTest, Temperature0_05) { EXPECT_EQ(Checksum(0.05), 0x8272e90b7603f3c4u); }

}  // namespace
}  // namespace token_sampler
