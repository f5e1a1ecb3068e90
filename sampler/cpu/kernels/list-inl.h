// Counts, sums and bins the values of a list: for the SIMD target that HWY_TARGET names.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_LIST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_LIST_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_LIST_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_LIST_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/kernels/values-inl.h"

// NOLINTBEGIN(misc-definitions-in-headers): only kernels.cc includes this, once per SIMD target,
// each of which has a namespace of its own.
HWY_BEFORE_NAMESPACE();
namespace token_sampler::cpu::HWY_NAMESPACE {

uint64_t CountAtLeast(const float* values, size_t count, float threshold) {
  const Floats d;
  const Words du;
  const Float limit = hn::Set(d, threshold);
  Word total = hn::Zero(du);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    // A true lane is -1.
    total = hn::Sub(
        total, hn::VecFromMask(du, hn::RebindMask(du, hn::Ge(hn::LoadU(d, values + i), limit))));
  }
  uint64_t sum = hn::GetLane(hn::SumOfLanes(du, total));
  for (; i < count; ++i) sum += values[i] >= threshold ? 1 : 0;
  return sum;
}

uint64_t SumAtLeast(const float* values, const uint64_t* weights, size_t count, float threshold) {
  const Wides dw;
  const hn::Half<Floats> half;
  const hn::ScalableTag<double> d64;
  const auto limit = hn::Set(d64, double{threshold});
  constexpr size_t kStep = kLanes / 2;
  Wide total = hn::Zero(dw);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const auto keep = hn::Ge(hn::PromoteTo(d64, hn::LoadU(half, values + i)), limit);
    total =
        hn::Add(total, hn::IfThenElseZero(hn::RebindMask(dw, keep), hn::LoadU(dw, weights + i)));
  }
  uint64_t sum = hn::GetLane(hn::SumOfLanes(dw, total));
  for (; i < count; ++i) sum += values[i] >= threshold ? weights[i] : 0;
  return sum;
}

struct BinStep {
  Float top;
  Float scale;
  Float last;
  uint32_t* out;

  HWY_INLINE void operator()(int64_t, Float x) {
    const Floats d;
    const Float distance = hn::Mul(hn::Sub(top, x), scale);
    const Float clamped = hn::Min(hn::Max(distance, hn::Zero(d)), last);
    hn::StoreU(hn::BitCast(Words(), hn::ConvertTo(hn::RebindToSigned<Floats>(), clamped)), Words(),
               out);
    out += kLanes;
  }
};

void Bin(const float* values, int64_t count, float top, float scale, uint32_t last,
         uint32_t* bins) {
  const Floats d;
  BinStep step{hn::Set(d, top), hn::Set(d, scale), hn::Set(d, static_cast<float>(last)), bins};
  ForVectors<DataType::kFloat32>(values, 0, count, top, step);
}

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
