// Computes the weights of a row's tokens: SPEC.md §4.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_WEIGHER_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_WEIGHER_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/kernel/block_memory.cuh"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"

namespace token_sampler::cuda {

// Differences from the greatest value for which the weight need not be computed.
struct SureDifferences {
  float below;        // a lesser difference has a weight below the threshold
  float at_or_above;  // a greater one has a weight of at least the threshold
};

// Weigh tokens in a loop, with all parameters in registers.
struct LogitWeights {
  float first;  // the largest value of the row
  WeightScale scale;
  __device__ uint64_t operator()(float value) const { return LogitWeight(value - first, scale); }
};
struct PlainWeights {
  double scale;
  __device__ uint64_t operator()(float value) const { return PlainWeight(value, scale); }
};

// Keeps nearly all parameters in shared memory, because registers are few.
class Weigher {
 public:
  // Weighs at temperature 1, relative to `first`, the largest value of the row memory.job. All
  // threads of a block must construct it.
  __device__ Weigher(BlockMemory& memory, float first) : memory_(memory), first_(first) {
    if (memory.job.is_logits) return;
    if (threadIdx.x == 0) {
      memory.plain_scale = PlainWeightScale(first, memory.job.scale.fraction_bits);
    }
    __syncthreads();
  }

  // Weighs at the temperature of the row from now on.
  __device__ void SetTemperature() { at_one_ = false; }

  __device__ LogitWeights OfLogits() const { return {first_, scale()}; }
  // Calls f with LogitWeights or PlainWeights, so that a loop need not decide for every token.
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

  // Returns bounds of the differences whose weights reach a threshold. Few differences are between
  // the two, and only these must be weighed. The bounds on the logarithm use only the mantissa, so
  // that the result does not depend on a library.
  __device__ SureDifferences Sure(uint64_t threshold) const {
    // Below this, the rounding of weights is not small against the threshold.
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
  // Returns the bins per unit of value with which nearly all of the mass is in `bins` bins.
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
