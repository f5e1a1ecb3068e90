// Some tokens of a row, in the order of their ids, as parallel arrays.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_

#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels.h"

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

  // Room must be reserved.
  void Append(float value, uint32_t id) {
    values[count] = value;
    ids[count++] = id;
  }

  void Weigh(const Weigher& weigher, const Kernels& kernels) {
    kernels.For(DataType::kFloat32)
        .weigh(values.data(), 0, static_cast<int64_t>(count), weigher, weights.data());
  }

  // Keeps the tokens up to `last` in the total order.
  void Retain(const Cutoff& last) {
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      const float value = values[i];
      const uint32_t id = ids[i];
      values[kept] = value;
      ids[kept] = id;
      weights[kept] = weights[i];
      kept += last.Keeps(value, id) ? 1 : 0;
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
