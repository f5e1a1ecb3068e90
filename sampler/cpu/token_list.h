// A list of some tokens of a row, by ascending id, as parallel arrays.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "sampler/arithmetic/token_order.h"
#include "sampler/cpu/buffer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/rows/paced.h"

namespace token_sampler::cpu {

// The last token of a prefix of the total order (sampler/arithmetic/token_order.h).
struct Cutoff {
  float value;
  uint32_t id;

  bool Keeps(float token_value, uint32_t token_id) const {
    // Uses operators that need no branch, because a branch would be hard to predict.
    const unsigned ties = unsigned{token_value == value} & unsigned{token_id <= id};
    return (unsigned{token_value > value} | ties) != 0;
  }
};
// The `id` of a cutoff after all tokens of its value.
inline constexpr uint32_t kLastId = std::numeric_limits<uint32_t>::max();

// Returns the least float above `value`.
inline float NextAbove(float value) {
  return std::nextafter(value, std::numeric_limits<float>::infinity());
}

// Tokens of a list in a piece of a simple loop.
inline constexpr int64_t kListPiece = int64_t{1} << 16;

struct TokenList {
  Buffer<float> values;
  Buffer<uint32_t> ids;
  Buffer<uint64_t> weights;
  size_t count = 0;
  Pace* pace = nullptr;  // asked by loops over the list: the pace of its row

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
    const RowKernels& floats = kernels.For(DataType::kFloat32);
    InPieces(pace, count, size_t{kListPiece}, [&](size_t begin, size_t end) {
      floats.weigh(values.data(), static_cast<int64_t>(begin), static_cast<int64_t>(end), weigher,
                   weights.data() + begin);
    });
  }

  // Calls body(i) for each token i, in order.
  template <class Body>
  void ForEach(const Body& body) const {
    ForEachPaced(pace, count, body);
  }

  // Returns the order key of token i.
  uint64_t KeyOf(size_t i) const { return OrderKey(values[i] + 0.0f, ids[i]); }

  // Keeps the tokens i for which keeps(i) is true, in their order.
  template <class Keeps>
  void RetainIf(const Keeps& keeps) {
    size_t kept = 0;
    InPieces(pace, count, size_t{kListPiece}, [&](size_t begin, size_t end) {
      // Local to the loop, so that they stay in registers.
      float* const to_values = values.data();
      uint32_t* const to_ids = ids.data();
      uint64_t* const to_weights = weights.data();
      size_t to = kept;
      for (size_t i = begin; i < end; ++i) {
        // No branch, because it would be hard to predict.
        const size_t next = to + (keeps(i) ? 1 : 0);
        to_values[to] = to_values[i];
        to_ids[to] = to_ids[i];
        to_weights[to] = to_weights[i];
        to = next;
      }
      kept = to;
    });
    count = kept;
  }

  // Keeps the tokens up to `last` in the total order.
  void Retain(const Cutoff& last, const Kernels& kernels) {
    size_t kept = 0;
    InPieces(pace, count, size_t{kListPiece}, [&](size_t begin, size_t end) {
      kept = kernels.retain(values.data(), ids.data(), weights.data(), begin, end, kept, last.value,
                            last.id);
    });
    count = kept;
  }

  uint64_t TotalWeight() const {
    uint64_t total = 0;
    ForEach([&](size_t i) { total += weights[i]; });
    return total;
  }
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_TOKEN_LIST_H_
