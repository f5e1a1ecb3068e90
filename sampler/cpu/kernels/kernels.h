// The inner loops of the CPU sampler, compiled once per SIMD target. Every target computes the same
// results; only the layout of column maxima and samples depends on its vector length.
//
// Values are a row's elements widened to float32. Unless stated otherwise, no value is NaN or
// +infinity, ranges are [begin, end) of token positions, and an output array must have room for
// kSlack elements more than are written.

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

// Vectors per group. A column is a lane of a group, so a group has one column maximum per lane.
inline constexpr int64_t kGroupVectors = 16;

// The most floats in a vector.
inline constexpr int64_t kSlack = 64;

// The parameters that map a value to its weight. SPEC.md §4.
struct Weigher {
  bool plain = false;           // the values are weights, not logits
  float floor = 0;              // lower values get the weight 0
  float max = 0;                // of logits: the largest of the row
  WeightScale scale = {};       // of logits; for plain weights only the fraction bits are used
  float lowest_difference = 0;  // of logits: the weight of max + this is 0
  double plain_scale = 0;       // of plain weights

  // Returns the weight of a value >= floor.
  uint64_t WeightOf(float value) const {
    return plain ? PlainWeight(value, plain_scale) : LogitWeight(value - max, scale);
  }
};

// The values in [low, high).
struct ValueRange {
  float low;
  float high;
};

// The result of `scan` over values, which may include NaN and infinities.
struct Extent {
  float max;
  float min;        // infinity unless scanned with_min
  bool suspicious;  // there may be a NaN, or there is +infinity

  // Returns the extent of both together.
  Extent With(const Extent& other) const {
    return {std::max(max, other.max), std::min(min, other.min), suspicious || other.suspicious};
  }
};

// Loops over a row of one element type. `values` need not be aligned.
struct RowKernels {
  // Returns the extent of the range, its min only with_min. Writes the column maxima of each group:
  // the largest value per lane, -infinity if there is none. `begin` must be a multiple of the
  // group.
  Extent (*scan)(const void* values, int64_t begin, int64_t end, bool with_min, float* column_max);

  // Returns the position of the first value >= `target`; `count` if there is none. `column_max`
  // must be from scan(0, count).
  int64_t (*find_first)(const void* values, int64_t count, const float* column_max, float target);

  // Writes the values and positions of the tokens of [begin, end) in `range`, in order, and returns
  // their number. Stops after the group in which it reaches `limit`. `begin` must be a multiple of
  // the group; `column_max` must be from a scan, and start with the group of `begin`.
  size_t (*collect)(const void* values, int64_t begin, int64_t end, const float* column_max,
                    ValueRange range, size_t limit, float* out_values, uint32_t* out_positions);

  // Widens the range to out[0 ..], and -0 to +0.
  void (*widen)(const void* values, int64_t begin, int64_t end, float* out);

  // Widens one vector of every whole group, and returns the number of values.
  size_t (*sample)(const void* values, int64_t count, float* out);

  // Writes the weights of the range to out[0 ..].
  void (*weigh)(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                uint64_t* out);

  // Writes, per block of the range, the sum of all weights and, unless `above` is null, of the
  // weights of values >= `threshold`. `begin` must be a multiple of kBlock; both arrays start with
  // the block of `begin`.
  void (*weigh_blocks)(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                       float threshold, uint64_t* all, uint64_t* above);
};

struct Kernels {
  const char* name;    // the target's: "AVX3", "AVX2", "NEON", "EMU128"
  int64_t lanes;       // floats per vector
  RowKernels rows[4];  // by DataType

  const RowKernels& For(DataType type) const { return rows[static_cast<size_t>(type)]; }
  int64_t group() const { return lanes * kGroupVectors; }

  // Return the number of values >= `threshold`, and the sum of their weights.
  uint64_t (*count_at_least)(const float* values, size_t count, float threshold);
  uint64_t (*sum_at_least)(const float* values, const uint64_t* weights, size_t count,
                           float threshold);

  // Moves those of the tokens [begin, end) of a list that are up to `last_value` and `last_id` in
  // the total order to `to` <= begin, and returns their new end. Each array must have kSlack
  // elements after `end`; these, and the elements from the returned end to `end`, are unspecified
  // afterwards.
  size_t (*retain)(float* values, uint32_t* ids, uint64_t* weights, size_t begin, size_t end,
                   size_t to, float last_value, uint32_t last_id);

  // Sets bins[i] = trunc((top - values[i]) * scale), clamped to [0, last]; scale >= 0.
  void (*bin)(const float* values, int64_t count, float top, float scale, uint32_t last,
              uint32_t* bins);
};

// Returns the kernels of the compiled targets that this machine supports, the fastest first. Never
// empty.
const std::vector<const Kernels*>& SupportedKernels();

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_H_
