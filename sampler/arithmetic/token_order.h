// The total order of tokens: adjusted logit descending, then token id ascending. The id decides
// ties, so they never depend on a thread, a sort or a batch. SPEC.md §3.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_TOKEN_ORDER_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_TOKEN_ORDER_H_

#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

// Maps floats to integers of the same order. `value` must not be NaN or -0.
TOKEN_SAMPLER_HOST_DEVICE inline uint32_t OrderedBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

TOKEN_SAMPLER_HOST_DEVICE inline float FromOrderedBits(uint32_t ordered) {
  const uint32_t bits = (ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// A greater key comes first.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t OrderKey(float value, uint32_t token_id) {
  return (uint64_t{OrderedBits(value)} << 32) | static_cast<uint32_t>(~token_id);
}

TOKEN_SAMPLER_HOST_DEVICE inline uint32_t TokenOfOrderKey(uint64_t key) {
  return ~static_cast<uint32_t>(key);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_TOKEN_ORDER_H_
