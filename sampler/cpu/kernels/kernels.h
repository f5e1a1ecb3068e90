// The inner loops of the CPU sampler, compiled once per SIMD target. Every target computes the same
// results; the layout of column maxima and samples alone depends on its vector length.
//
// Values are a row's elements widened to float32. Unless said otherwise no value is NaN or
// +infinity, ranges are [begin, end) of token positions, and an output array has room for
// kSlack elements more than it gets.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/weight.h"

namespace token_sampler::cpu {

// Tokens per block of `weigh_blocks`.
inline constexpr int64_t kBlock = 1024;

// Vectors per group: a group of tokens shares its column maxima, one per lane.
inline constexpr int64_t kGroupVectors = 16;

// No vector is longer than this many floats.
inline constexpr int64_t kSlack = 64;

// What turns a value into its weight. SPEC.md §4.
struct Weigher {
  bool plain = false;           // the values are weights, not logits
  float floor = 0;              // lower values count as weights of 0
  float max = 0;                // logits: the largest of the row
  WeightScale scale = {};       // logits; of plain weights only the fraction bits
  float lowest_difference = 0;  // logits: the weight of max + this is 0
  double plain_scale = 0;       // weights

  // Of a value >= floor.
  uint64_t WeightOf(float value) const {
    return plain ? PlainWeight(value, plain_scale) : LogitWeight(value - max, scale);
  }
};

// Tokens whose value lies in [low, high).
struct ValueRange {
  float low;
  float high;
};

// What `scan` saw of the values, NaN and infinities included.
struct Extent {
  float max;
  float min;        // infinity unless asked for
  bool suspicious;  // a NaN may be among the values, or +infinity is

  // That of both.
  Extent With(const Extent& other) const {
    return {std::max(max, other.max), std::min(min, other.min), suspicious || other.suspicious};
  }
};

// Loops over a row of one element type. `values` need not be aligned.
struct RowKernels {
  // Extent of the range, and of each of its groups the largest value per lane (-infinity where
  // there is none). `begin` is a multiple of the group. The smallest value only with_min.
  Extent (*scan)(const void* values, int64_t begin, int64_t end, bool with_min, float* column_max);

  // Position of the first value >= target, or count. `column_max` is from scan(0, count).
  int64_t (*find_first)(const void* values, int64_t count, const float* column_max, float target);

  // Writes values and positions of the tokens of [begin, end) in `range`, in order, and returns how
  // many. Stops after the group in which their number reaches `limit`. `begin` is a multiple of the
  // group; `column_max` is from scan(0, count), and starts with the group of `begin`.
  size_t (*collect)(const void* values, int64_t begin, int64_t end, const float* column_max,
                    ValueRange range, size_t limit, float* out_values, uint32_t* out_positions);

  // Widens the range to out[0 ..], -0 to +0.
  void (*widen)(const void* values, int64_t begin, int64_t end, float* out);

  // Widens one vector of every whole group, and returns the number of values.
  size_t (*sample)(const void* values, int64_t count, float* out);

  // Weights of the range to out[0 ..].
  void (*weigh)(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                uint64_t* out);

  // Per block of the range, the sum of its weights and, unless `above` is null, of those of values
  // >= threshold. `begin` is a multiple of kBlock; both arrays start with the block of `begin`.
  void (*weigh_blocks)(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                       float threshold, uint64_t* all, uint64_t* above);
};

struct Kernels {
  const char* name;    // of the target: "AVX3", "AVX2", "NEON", "EMU128"
  int64_t lanes;       // floats per vector
  RowKernels rows[4];  // by DataType

  const RowKernels& For(DataType type) const { return rows[static_cast<size_t>(type)]; }
  int64_t group() const { return lanes * kGroupVectors; }

  // How many of the values are >= threshold, and the sum of the weights of those.
  uint64_t (*count_at_least)(const float* values, size_t count, float threshold);
  uint64_t (*sum_at_least)(const float* values, const uint64_t* weights, size_t count,
                           float threshold);

  // Of the tokens [begin, end) of a list, moves those up to `last_value` and `last_id` in the total
  // order to `to` <= begin, and returns where they end. Each array has kSlack elements after `end`;
  // what is in those and in [the returned end, end) means nothing afterwards.
  size_t (*retain)(float* values, uint32_t* ids, uint64_t* weights, size_t begin, size_t end,
                   size_t to, float last_value, uint32_t last_id);

  // bins[i] = trunc((top - values[i]) * scale), raised to 0 and lowered to `last`; scale >= 0.
  void (*bin)(const float* values, int64_t count, float top, float scale, uint32_t last,
              uint32_t* bins);
};

// The targets that were compiled and that this machine has, the fastest first. Never empty.
const std::vector<const Kernels*>& SupportedKernels();

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_H_
