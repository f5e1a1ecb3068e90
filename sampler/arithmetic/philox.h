// Philox4x32-10, a counter-based generator: a pure function of key and counter.
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_PHILOX_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_PHILOX_H_

#include <cstdint>

#include "sampler/arithmetic/host_device.h"
#include "sampler/arithmetic/wide_integer.h"

namespace token_sampler {

struct PhiloxBlock {
  uint32_t word[4];
};

TOKEN_SAMPLER_HOST_DEVICE inline PhiloxBlock Philox4x32(PhiloxBlock counter, uint32_t key0,
                                                        uint32_t key1) {
  constexpr int kRounds = 10;
  constexpr uint32_t kMultiplier0 = 0xD2511F53u;
  constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u;
  constexpr uint32_t kWeyl1 = 0xBB67AE85u;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter.word[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

// Separates the random numbers of different purposes.
enum class RandomDomain : uint32_t {
  kToken = 0,
  kDraftAccept = 1,
  kDraftResidual = 2,
  kXtcCoin = 3,
  kDraft = 4,
  kGumbelSoftmax = 5,
};

// The number of draws that one (seed, step, stream, domain) provides. Their index has 24 bits.
inline constexpr uint32_t kMaxDraws = (1u << 24) - 1;

// Identifies a row's generator. `step` is the position of the token in its sequence; `stream`
// distinguishes rows of the same seed and step, such as the choices of n > 1.
struct RowKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t stream = 0;
};

// Returns 128 uniform bits for draw number `index` (< 2^24). Word 0 of the block is the least
// significant.
TOKEN_SAMPLER_HOST_DEVICE inline Uint128 UniformBits(const RowKey& key, RandomDomain domain,
                                                     uint32_t index) {
  const PhiloxBlock block =
      Philox4x32({{static_cast<uint32_t>(key.step), static_cast<uint32_t>(key.step >> 32),
                   key.stream, (static_cast<uint32_t>(domain) << 24) | index}},
                 static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32));
  return (Uint128{block.word[3]} << 96) | (Uint128{block.word[2]} << 64) |
         (Uint128{block.word[1]} << 32) | block.word[0];
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_PHILOX_H_
