// Some tokens of a row, in the order of their ids, as parallel arrays.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_

#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"

namespace token_sampler::cpu {

// The last token of a prefix of the total order (sampler/token_order.h).
struct Cutoff {
  float value;
  uint32_t id;

  bool Keeps(float token_value, uint32_t token_id) const {
    return token_value > value || (token_value == value && token_id <= id);
  }
};

struct TokenList {
  Buffer<float> values;
  Buffer<uint32_t> ids;
  Buffer<uint64_t> weights;
  size_t count = 0;

  void Reserve(size_t capacity) {
    values.Reserve(capacity);
    ids.Reserve(capacity);
    weights.Reserve(capacity);
  }

  // Keeps the tokens for which keep(value, id) holds.
  template <typename Predicate>
  void Retain(Predicate keep) {
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      const float value = values[i];
      const uint32_t id = ids[i];
      values[kept] = value;
      ids[kept] = id;
      weights[kept] = weights[i];
      kept += keep(value, id) ? 1 : 0;
    }
    count = kept;
  }

  uint64_t TotalWeight() const {
    uint64_t total = 0;
    for (size_t i = 0; i < count; ++i) total += weights[i];
    return total;
  }
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_
