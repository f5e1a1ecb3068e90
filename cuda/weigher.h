// The weight of each token of a row, by SPEC.md §4.

#ifndef TOKEN_SAMPLER_CUDA_WEIGHER_H_
#define TOKEN_SAMPLER_CUDA_WEIGHER_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/row_job.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"

namespace token_sampler::cuda {

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
