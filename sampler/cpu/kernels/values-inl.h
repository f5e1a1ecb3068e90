// Reads the values of a row by vectors, finds the largest, widens and samples them: for the SIMD
// target that HWY_TARGET names.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_VALUES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_VALUES_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_VALUES_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_VALUES_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/cpu/kernels/kernels.h"

// NOLINTBEGIN(misc-definitions-in-headers): only kernels.cc includes this, once per SIMD target,
// each of which has a namespace of its own.
HWY_BEFORE_NAMESPACE();
namespace token_sampler::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::ScalableTag<uint32_t>;
using Wides = hn::ScalableTag<uint64_t>;
using Float = hn::Vec<Floats>;
using Word = hn::Vec<Words>;
using Wide = hn::Vec<Wides>;

constexpr int64_t kLanes = HWY_LANES(float);
constexpr int64_t kGroup = kLanes * kGroupVectors;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

static_assert(kLanes <= kSlack && kBlock % kGroup == 0);

// The values at [index, index + kLanes) of an array of `type`.
template <DataType type>
HWY_INLINE Float LoadValues(const void* values, int64_t index) {
  const Floats d;
#if HWY_TARGET == HWY_EMU128
  // Highway's emulation does not widen infinities and NaN correctly.
  float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = LoadAsFloat(values, type, index + i);
  return hn::LoadU(d, lanes);
#else
  if constexpr (type == DataType::kFloat32) {
    return hn::LoadU(d, static_cast<const float*>(values) + index);
  } else if constexpr (type == DataType::kFloat16) {
    const hn::Rebind<hwy::float16_t, Floats> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, static_cast<const hwy::float16_t*>(values) + index));
  } else if constexpr (type == DataType::kBFloat16) {
    const hn::Rebind<hwy::bfloat16_t, Floats> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, static_cast<const hwy::bfloat16_t*>(values) + index));
  } else {
    const hn::ScalableTag<double> d64;
    const hn::Half<Floats> half;
    const double* from = static_cast<const double*>(values) + index;
    return hn::Combine(d, hn::DemoteTo(half, hn::LoadU(d64, from + kLanes / 2)),
                       hn::DemoteTo(half, hn::LoadU(d64, from)));
  }
#endif
}

// The same for the `count` < kLanes values at `index`; the other lanes are `padding`.
template <DataType type>
HWY_INLINE Float LoadSomeValues(const void* values, int64_t index, int64_t count, float padding) {
  float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    lanes[i] = i < count ? LoadAsFloat(values, type, index + i) : padding;
  }
  return hn::LoadU(Floats(), lanes);
}

// Calls step(position, vector) for each vector of the range. The last one may be padded.
template <DataType type, class Step>
HWY_INLINE void ForVectors(const void* values, int64_t begin, int64_t end, float padding,
                           Step& step) {
  int64_t index = begin;
  for (; end - index >= kLanes; index += kLanes) {
    step(index, LoadValues<type>(values, index));
  }
  if (index < end) step(index, LoadSomeValues<type>(values, index, end - index, padding));
}

// Used instead of hn::MaxOfLanes, whose emulation does not handle infinities correctly.
HWY_INLINE float LargestLane(Float x) {
  float lanes[kLanes];
  hn::StoreU(x, Floats(), lanes);
  return *std::max_element(lanes, lanes + kLanes);
}

template <bool with_min>
struct ExtentStep {
  // Explicit, as in the structs below, because an implicit constructor is not compiled for the
  // target.
  HWY_INLINE ExtentStep()
      : max(hn::Set(Floats(), -kInfinity)), negated_min(max), sum(hn::Zero(Floats())) {}

  HWY_INLINE void operator()(Float x) {
    max = hn::Max(max, x);
    if constexpr (with_min) negated_min = hn::Max(negated_min, hn::Neg(x));
    sum = hn::Add(sum, x);
  }

  Float max;
  Float negated_min;
  Float sum;  // stays NaN after a NaN was added; infinities of both signs may make it NaN too
};

// Scans two whole groups, and writes their column maxima.
template <DataType type, bool with_min>
HWY_INLINE void ScanGroups(const void* values, int64_t first, int64_t second, float* first_max,
                           float* second_max, ExtentStep<with_min>& row0,
                           ExtentStep<with_min>& row1) {
  const Floats d;
  const Float none = hn::Set(d, -kInfinity);
  const Float max0 = row0.max;
  const Float max1 = row1.max;
  row0.max = none;
  row1.max = none;
  for (int64_t i = 0; i < kGroup; i += kLanes) {
    row0(LoadValues<type>(values, first + i));
    row1(LoadValues<type>(values, second + i));
  }
  hn::StoreU(row0.max, d, first_max);
  hn::StoreU(row1.max, d, second_max);
  row0.max = hn::Max(max0, row0.max);
  row1.max = hn::Max(max1, row1.max);
}

template <DataType type, bool with_min>
Extent ScanAs(const void* values, int64_t begin, int64_t end, float* column_max) {
  const Floats d;
  ExtentStep<with_min> row0;
  ExtentStep<with_min> row1;
  // Reading two streams, one from the middle, is faster than reading one.
  const int64_t groups = (end - begin) / kGroup;
  const int64_t half = (groups + 1) / 2;
  for (int64_t i = 0; i < half; ++i) {
    // If the number of groups is odd, the last one is scanned twice.
    const int64_t other = std::min(half + i, groups - 1);
    ScanGroups<type>(values, begin + i * kGroup, begin + other * kGroup, column_max + i * kLanes,
                     column_max + other * kLanes, row0, row1);
  }
  int64_t index = begin + groups * kGroup;
  column_max += groups * kLanes;
  ExtentStep<with_min> rest;
  if (index < end) {
    // The padding repeats a value, which does not change the extent. The column maxima are padded
    // with -infinity: repeating the value would put it into other columns too.
    for (; end - index >= kLanes; index += kLanes) rest(LoadValues<type>(values, index));
    if (index < end) {
      const float last = LoadAsFloat(values, type, end - 1);
      const Float max = rest.max;
      rest(LoadSomeValues<type>(values, index, end - index, last));
      rest.max = hn::Max(max, LoadSomeValues<type>(values, index, end - index, -kInfinity));
    }
    hn::StoreU(rest.max, d, column_max);
  }
  const Float sum = hn::Add(hn::Add(row0.sum, row1.sum), rest.sum);
  const bool nan = !hn::AllTrue(d, hn::Eq(sum, sum));
  const float max = LargestLane(hn::Max(hn::Max(row0.max, row1.max), rest.max));
  const float min =
      -LargestLane(hn::Max(hn::Max(row0.negated_min, row1.negated_min), rest.negated_min));
  return {max, min, nan || max == kInfinity};
}

template <DataType type>
Extent Scan(const void* values, int64_t begin, int64_t end, bool with_min, float* column_max) {
  return with_min ? ScanAs<type, true>(values, begin, end, column_max)
                  : ScanAs<type, false>(values, begin, end, column_max);
}

template <DataType type>
int64_t FindFirst(const void* values, int64_t count, const float* column_max, float target) {
  const Floats d;
  const Float wanted = hn::Set(d, target);
  for (int64_t group = 0; group < count; group += kGroup, column_max += kLanes) {
    if (hn::AllFalse(d, hn::Ge(hn::LoadU(d, column_max), wanted))) continue;
    const int64_t end = std::min(group + kGroup, count);
    for (int64_t index = group; index < end; index += kLanes) {
      const Float x = end - index >= kLanes
                          ? LoadValues<type>(values, index)
                          : LoadSomeValues<type>(values, index, end - index, -kInfinity);
      const intptr_t lane = hn::FindFirstTrue(d, hn::Ge(x, wanted));
      if (lane >= 0) return index + lane;
    }
  }
  return count;
}

struct WidenStep {
  float* out;

  HWY_INLINE void operator()(int64_t, Float x) {
    hn::StoreU(hn::Add(x, hn::Zero(Floats())), Floats(), out);
    out += kLanes;
  }
};

template <DataType type>
void Widen(const void* values, int64_t begin, int64_t end, float* out) {
  WidenStep step{out};
  ForVectors<type>(values, begin, end, 0.0f, step);
}

template <DataType type>
size_t Sample(const void* values, int64_t count, float* out) {
  size_t taken = 0;
  for (int64_t group = 0; count - group >= kGroup; group += kGroup, taken += kLanes) {
    // Take a different vector in each group, so that the sample does not follow a period of the
    // row.
    const int64_t vector = (group / kGroup * 5) % kGroupVectors;
    hn::StoreU(LoadValues<type>(values, group + vector * kLanes), Floats(), out + taken);
  }
  return taken;
}

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
