// The weight of each token of a row, by SPEC.md §4.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_WEIGHER_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_WEIGHER_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/kernel/block_memory.cuh"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"

namespace token_sampler::cuda {

// What the weight of a difference to the greatest value is sure to be.
struct SureDifferences {
  float below;        // a lesser difference weighs less than the threshold
  float at_or_above;  // a greater one does not
};

// Weights of tokens, with all that they take in registers, for a loop.
struct LogitWeights {
  float first;  // the largest value of the row
  WeightScale scale;
  __device__ uint64_t operator()(float value) const { return LogitWeight(value - first, scale); }
};
struct PlainWeights {
  double scale;
  __device__ uint64_t operator()(float value) const { return PlainWeight(value, scale); }
};

// Keeps nearly all in shared memory, for registers are few.
class Weigher {
 public:
  // Weighs at temperature 1 against `first`, the largest value of the row memory.job. In all
  // threads of a block.
  __device__ Weigher(BlockMemory& memory, float first) : memory_(memory), first_(first) {
    if (memory.job.is_logits) return;
    if (threadIdx.x == 0) {
      memory.plain_scale = PlainWeightScale(first, memory.job.scale.fraction_bits);
    }
    __syncthreads();
  }

  // From now on at the temperature of the row.
  __device__ void SetTemperature() { at_one_ = false; }

  __device__ LogitWeights OfLogits() const { return {first_, scale()}; }
  // f(LogitWeights) or f(PlainWeights), so that a loop need not ask which for every token.
  template <typename F>
  __device__ auto Apply(F f) const {
    return memory_.job.is_logits ? f(OfLogits()) : f(PlainWeights{memory_.plain_scale});
  }
  __device__ uint64_t operator()(float value) const {
    return Apply([value](auto weigh) { return weigh(value); });
  }
  __device__ uint64_t OfKey(uint64_t key) const {
    return (*this)(FromOrderedBits(static_cast<uint32_t>(key >> 32)));
  }

  // Bounds the differences that reach a threshold: few lie between the two, and only they have to
  // be weighed. The mantissa bounds the logarithm, so that no function of a library decides.
  __device__ SureDifferences Sure(uint64_t threshold) const {
    // Lesser thresholds are coarse: rounding is as large as the steps between them.
    constexpr uint64_t kLeast = uint64_t{1} << 24;
    if (!memory_.job.is_logits || threshold < kLeast) return {-INFINITY, INFINITY};
    const int exponent = 63 - __clzll(threshold);
    const float mantissa =
        static_cast<float>(threshold >> (exponent - 23)) * (1.0f / (1 << 23)) - 1.0f;
    // m <= log2(1 + m) <= m + 0.0861 on [0, 1]; the rest is for rounding, here and of weights.
    constexpr float kRounding = 1.0f / 1024;
    const float octaves = static_cast<float>(exponent - scale().fraction_bits) + mantissa;
    return {(octaves - kRounding) / scale().high, (octaves + 0.0861f + kRounding) / scale().high};
  }

  __device__ float first() const { return first_; }
  __device__ uint64_t OfFirst() const { return (*this)(first_); }
  // Bins per unit of value such that nearly all of the mass falls into kBins of them.
  __device__ float BinsPerValue(uint32_t bins) const {
    const float all = static_cast<float>(bins);
    return memory_.job.is_logits ? scale().high * (all / kBinnedOctaves) : all / first_;
  }

 private:
  __device__ const WeightScale& scale() const {
    return at_one_ ? memory_.job.scale_at_one : memory_.job.scale;
  }

  const BlockMemory& memory_;
  const float first_;
  bool at_one_ = true;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_WEIGHER_H_
