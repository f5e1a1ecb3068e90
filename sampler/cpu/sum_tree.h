// A tree of sums of weights. Finding a drawn weight and removing it take time logarithmic in the
// number of weights.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_SUM_TREE_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_SUM_TREE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "sampler/cpu/buffer.h"
#include "sampler/rows/paced.h"

namespace token_sampler::cpu {

class SumTree {
 public:
  // Builds the tree of `weights` [count], count >= 1. The caller keeps them; they must outlive
  // their use, and Remove changes them. Asks `pace`.
  void Build(uint64_t* weights, size_t count, Pace* pace) {
    size_t nodes = 0;
    for (size_t width = count; width > 1; nodes += width) width = Parents(width);
    nodes_.Reserve(nodes);
    levels_[0] = weights;
    widths_[0] = count;
    depth_ = 0;
    uint64_t* free = nodes_.data();
    while (widths_[depth_] > 1) {
      const uint64_t* children = levels_[depth_];
      const size_t width = widths_[depth_];
      ++depth_;
      levels_[depth_] = free;
      widths_[depth_] = Parents(width);
      for (size_t child = 0; child < width; child += kFanOut) {
        if (child % kPieceItems == 0 && child > 0) Ask(pace);
        uint64_t sum = 0;
        for (size_t i = child; i < std::min(child + kFanOut, width); ++i) sum += children[i];
        *free++ = sum;
      }
    }
  }

  uint64_t total() const { return levels_[depth_][0]; }

  // Returns the first position at which the running sum exceeds `target`, which must be below
  // total().
  size_t Find(uint64_t target) const {
    size_t node = 0;
    for (size_t level = depth_; level-- > 0;) {
      node *= kFanOut;
      while (levels_[level][node] <= target) target -= levels_[level][node++];
    }
    return node;
  }

  // Sets the weight at `position` to 0.
  void Remove(size_t position) {
    const uint64_t weight = levels_[0][position];
    for (size_t level = 0; level <= depth_; ++level, position /= kFanOut) {
      levels_[level][position] -= weight;
    }
  }

 private:
  static constexpr size_t kFanOut = 16;
  static constexpr size_t kMaxLevels = 17;  // 16^16 positions

  static size_t Parents(size_t width) { return (width + kFanOut - 1) / kFanOut; }

  uint64_t* levels_[kMaxLevels];
  size_t widths_[kMaxLevels];
  size_t depth_ = 0;
  Buffer<uint64_t> nodes_;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_SUM_TREE_H_
