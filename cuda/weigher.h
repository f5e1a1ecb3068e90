// The weight of each token of a row, by SPEC.md §4.

#ifndef TOKEN_SAMPLER_CUDA_WEIGHER_H_
#define TOKEN_SAMPLER_CUDA_WEIGHER_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/row_job.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"

namespace token_sampler::cuda {

// What the weight of a difference to the greatest value is sure to be.
struct SureDifferences {
  float below;        // a lesser difference weighs less than the threshold
  float at_or_above;  // a greater one does not
};

class Weigher {
 public:
  // Weighs at temperature 1 against `first`, the largest value of the row.
  __device__ Weigher(const RowJob& job, float first)
      : is_logits_(job.is_logits), first_(first), scale_(job.scale_at_one) {
    if (!is_logits_) plain_scale_ = PlainWeightScale(first, scale_.fraction_bits);
  }

  __device__ void SetScale(WeightScale scale) { scale_ = scale; }

  __device__ uint64_t operator()(float value) const {
    return is_logits_ ? LogitWeight(value - first_, scale_) : PlainWeight(value, plain_scale_);
  }
  __device__ uint64_t OfKey(uint64_t key) const {
    return (*this)(FromOrderedBits(static_cast<uint32_t>(key >> 32)));
  }

  // Of a threshold: few differences lie between the two, and they alone have to be weighed. The
  // mantissa bounds the logarithm, so that no function of a library decides.
  __device__ SureDifferences Sure(uint64_t threshold) const {
    // Lesser thresholds are coarse: rounding is as large as the steps between them.
    constexpr uint64_t kLeast = uint64_t{1} << 24;
    if (!is_logits_ || threshold < kLeast) return {-INFINITY, INFINITY};
    const int exponent = 63 - __clzll(threshold);
    const float mantissa =
        static_cast<float>(threshold >> (exponent - 23)) * (1.0f / (1 << 23)) - 1.0f;
    // m <= log2(1 + m) <= m + 0.0861 on [0, 1]; the rest is for rounding, here and of weights.
    constexpr float kRounding = 1.0f / 1024;
    const float octaves = static_cast<float>(exponent - scale_.fraction_bits) + mantissa;
    return {(octaves - kRounding) / scale_.high, (octaves + 0.0861f + kRounding) / scale_.high};
  }

  __device__ float first() const { return first_; }
  __device__ uint64_t OfFirst() const { return (*this)(first_); }
  // Bins per unit of value such that nearly all of the mass falls into kBins of them.
  __device__ float BinsPerValue(uint32_t bins) const {
    constexpr float kOctaves = 32.0f;
    const float all = static_cast<float>(bins);
    return is_logits_ ? scale_.high * (all / kOctaves) : all / first_;
  }

 private:
  bool is_logits_;
  float first_;
  WeightScale scale_;
  double plain_scale_ = 0.0;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_WEIGHER_H_
