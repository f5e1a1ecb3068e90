#include "tests/bench/simd_max.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/simd_max.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace token_sampler::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float Max(const float* values, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto max0 = hn::LoadU(d, values);
  auto max1 = max0;
  auto max2 = max0;
  auto max3 = max0;
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    max0 = hn::Max(max0, hn::LoadU(d, values + i));
    max1 = hn::Max(max1, hn::LoadU(d, values + i + lanes));
    max2 = hn::Max(max2, hn::LoadU(d, values + i + 2 * lanes));
    max3 = hn::Max(max3, hn::LoadU(d, values + i + 3 * lanes));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(max0, max1), hn::Max(max2, max3))));
  for (; i < count; ++i) max = values[i] > max ? values[i] : max;
  return max;
}

}  // namespace token_sampler::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace token_sampler::bench {

HWY_EXPORT(Max);

float SimdMax(const float* values, size_t count) {
  return HWY_DYNAMIC_DISPATCH(Max)(values, count);
}

}  // namespace token_sampler::bench
#endif  // HWY_ONCE
