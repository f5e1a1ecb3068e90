// Divides the order of a row's tokens into bins: kBins intervals of order keys. A bin with too many
// tokens is divided again.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_BIN_OF_KEY_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_BIN_OF_KEY_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/kernel/tuning.h"
#include "sampler/arithmetic/token_order.h"

namespace token_sampler::cuda {

// Divides the keys in [low, high] into bins. Bin 0 has the greatest keys.
struct Binning {
  static constexpr uint32_t kByValue = 64;

  uint64_t low;
  uint64_t high;
  uint32_t shift;  // log2 of the keys per bin; kByValue: bins by the distance from `first`
  float first;
  float per_value;

  // Makes bins of equal width in value, which a row's tokens fill more evenly than bins of equal
  // numbers of keys.
  __device__ static Binning ByValue(uint64_t low, float first, float per_value) {
    return {low, ~uint64_t{0}, kByValue, first, per_value};
  }
  __device__ static Binning ByKey(uint64_t low, uint64_t high) {
    const int bits = 64 - __clzll((high - low) | 1);
    return {low, high, static_cast<uint32_t>(bits > kBinBits ? bits - kBinBits : 0), 0.0f, 0.0f};
  }

  // Only for bins by value: returns the distance of `value` from `first`, in bins.
  __device__ float Distance(float value) const { return (first - value) * per_value; }
  __device__ bool Holds(uint64_t key) const { return key >= low && key <= high; }
  __device__ uint32_t BinOf(uint64_t key, float value) const {
    if (shift != kByValue) return static_cast<uint32_t>((high - key) >> shift);
    // Rounding keeps the order of distances, and so do bins of rounded distances.
    const float distance = Distance(value);
    return distance < static_cast<float>(kBins - 1) ? static_cast<uint32_t>(distance) : kBins - 1;
  }
  // Returns a lower bound of the values of all keys in bins [0, last], with regard to rounding.
  __device__ float Below(uint32_t last) const {
    if (shift != kByValue) return FromOrderedBits(static_cast<uint32_t>(low >> 32));
    return last < kBins - 1 ? first - static_cast<float>(last + 2) / per_value : -INFINITY;
  }
  // Returns an upper bound of the values of all keys in bins [bin, kBins), with regard to rounding.
  __device__ float Above(uint32_t bin) const {
    if (shift != kByValue) return FromOrderedBits(static_cast<uint32_t>(high >> 32));
    return bin > 1 ? first - static_cast<float>(bin - 2) / per_value : INFINITY;
  }
  // Divides one bin of keys again.
  __device__ Binning Within(uint32_t bin) const {
    const uint64_t top = high - (uint64_t{bin} << shift);
    const uint64_t bottom = top - ((uint64_t{1} << shift) - 1);
    return ByKey(bottom > low && bottom <= top ? bottom : low, top);
  }
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_BIN_OF_KEY_H_
