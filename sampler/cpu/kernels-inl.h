// The bodies of the kernels, for the target that HWY_TARGET names. Included by kernels.cc alone,
// once per target.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "sampler/cpu/kernels.h"
#include "sampler/data_type.h"
#include "sampler/weight.h"

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

// ---- Values ----

// The values at [index, index + kLanes) of an array of `type`.
template <DataType type>
HWY_INLINE Float LoadValues(const void* values, int64_t index) {
  const Floats d;
#if HWY_TARGET == HWY_EMU128
  // Highway's own emulation widens neither infinities nor NaN.
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

// The same of the `count` < kLanes values at `index`; the other lanes are `padding`.
template <DataType type>
HWY_INLINE Float LoadSomeValues(const void* values, int64_t index, int64_t count, float padding) {
  float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    lanes[i] = i < count ? LoadAsFloat(values, type, index + i) : padding;
  }
  return hn::LoadU(Floats(), lanes);
}

template <DataType type>
HWY_INLINE Float LoadUpTo(const void* values, int64_t index, int64_t end, float padding) {
  return end - index >= kLanes ? LoadValues<type>(values, index)
                               : LoadSomeValues<type>(values, index, end - index, padding);
}

template <DataType type>
Extent Scan(const void* values, int64_t begin, int64_t end, float* column_max) {
  const Floats d;
  const Float none = hn::Set(d, -kInfinity);
  Float max = none;
  Float min = hn::Set(d, kInfinity);
  // A sum stays NaN once a NaN was added. It may also become one by infinities of both signs.
  Float sum0 = hn::Zero(d);
  Float sum1 = hn::Zero(d);
  int64_t index = begin;
  for (; end - index >= kGroup; index += kGroup) {
    Float max0 = none;
    Float max1 = none;
    for (int64_t i = 0; i < kGroupVectors; i += 2) {
      const Float x0 = LoadValues<type>(values, index + i * kLanes);
      const Float x1 = LoadValues<type>(values, index + (i + 1) * kLanes);
      max0 = hn::Max(max0, x0);
      max1 = hn::Max(max1, x1);
      min = hn::Min(min, hn::Min(x0, x1));
      sum0 = hn::Add(sum0, x0);
      sum1 = hn::Add(sum1, x1);
    }
    max0 = hn::Max(max0, max1);
    hn::StoreU(max0, d, column_max);
    column_max += kLanes;
    max = hn::Max(max, max0);
  }
  if (index < end) {
    Float group_max = none;
    for (; index < end; index += kLanes) {
      const Float x = LoadUpTo<type>(values, index, end, -kInfinity);
      group_max = hn::Max(group_max, x);
      min = hn::Min(min, LoadUpTo<type>(values, index, end, kInfinity));
      sum0 = hn::Add(sum0, x);
    }
    hn::StoreU(group_max, d, column_max);
    max = hn::Max(max, group_max);
  }
  const Float sum = hn::Add(sum0, sum1);
  const bool nan = !hn::AllTrue(d, hn::Eq(sum, sum));
  // Not MaxOfLanes and MinOfLanes: their emulation takes -infinity for the lowest finite value.
  float max_lanes[kLanes];
  float min_lanes[kLanes];
  hn::StoreU(max, d, max_lanes);
  hn::StoreU(min, d, min_lanes);
  const float largest = *std::max_element(max_lanes, max_lanes + kLanes);
  return {largest, *std::min_element(min_lanes, min_lanes + kLanes), nan || largest == kInfinity};
}

template <DataType type>
int64_t FindFirst(const void* values, int64_t count, const float* column_max, float target) {
  const Floats d;
  const Float wanted = hn::Set(d, target);
  for (int64_t group = 0; group < count; group += kGroup, column_max += kLanes) {
    if (hn::AllFalse(d, hn::Ge(hn::LoadU(d, column_max), wanted))) continue;
    const int64_t end = std::min(group + kGroup, count);
    for (int64_t index = group; index < end; index += kLanes) {
      const Float x = LoadUpTo<type>(values, index, end, -kInfinity);
      const intptr_t lane = hn::FindFirstTrue(d, hn::Ge(x, wanted));
      if (lane >= 0) return index + lane;
    }
  }
  return count;
}

template <DataType type>
size_t Collect(const void* values, int64_t count, const float* column_max, ValueRange range,
               float* out_values, uint32_t* out_positions) {
  const Floats d;
  const Words du;
  const Float low = hn::Set(d, range.low);
  const Float high = hn::Set(d, range.high);
  size_t found = 0;
  for (int64_t group = 0; group < count; group += kGroup, column_max += kLanes) {
    if (hn::AllFalse(d, hn::Ge(hn::LoadU(d, column_max), low))) continue;
    const int64_t end = std::min(group + kGroup, count);
    for (int64_t index = group; index < end; index += kLanes) {
      // The padding is NaN: in no range.
      const Float x = LoadUpTo<type>(values, index, end, std::numeric_limits<float>::quiet_NaN());
      const auto inside = hn::And(hn::Ge(x, low), hn::Lt(x, high));
      if (hn::AllFalse(d, inside)) continue;
      // Compressing in a register and storing all of it is much faster than a compressing store.
      hn::StoreU(hn::Compress(x, inside), d, out_values + found);
      const Word positions = hn::Iota(du, static_cast<uint32_t>(index));
      hn::StoreU(hn::Compress(positions, hn::RebindMask(du, inside)), du, out_positions + found);
      found += hn::CountTrue(d, inside);
    }
  }
  return found;
}

template <DataType type>
void Widen(const void* values, int64_t begin, int64_t end, float* out) {
  for (int64_t index = begin; index < end; index += kLanes, out += kLanes) {
    hn::StoreU(LoadUpTo<type>(values, index, end, 0.0f), Floats(), out);
  }
}

template <DataType type>
size_t Sample(const void* values, int64_t count, float* out) {
  size_t taken = 0;
  for (int64_t group = 0; count - group >= kGroup; group += kGroup, taken += kLanes) {
    // Another vector in each group, lest the sample follow a period of the row.
    const int64_t vector = (group / kGroup * 5) % kGroupVectors;
    hn::StoreU(LoadValues<type>(values, group + vector * kLanes), Floats(), out + taken);
  }
  return taken;
}

// ---- Weights ----

// The weights of a vector's even and odd lanes, doubled.
struct DoubledWeights {
  Wide even;
  Wide odd;
};

#if HWY_NATIVE_FMA
// LogitWeight on every lane. The same float operations in the same order, but for two changes that
// are exact: the polynomial is scaled by 2^30 from the start, and differences below which every
// weight is 0 are raised to one whose weight is 0.
class LogitWeigher {
 public:
  explicit LogitWeigher(const Weigher& weigher)
      : max_(hn::Set(Floats(), weigher.max)),
        lowest_(hn::Set(Floats(), weigher.lowest_difference)),
        high_(hn::Set(Floats(), weigher.scale.high)),
        low_(hn::Set(Floats(), weigher.scale.low)),
        shift_bias_(hn::Set(
            Words(), kRoundBits + 61 - static_cast<uint32_t>(weigher.scale.fraction_bits))) {}

  HWY_INLINE DoubledWeights operator()(Float x) const {
    const Floats d;
    const Words du;
    const Wides dw;
    const Float difference = hn::Max(hn::Sub(x, max_), lowest_);
    const Float t = hn::Mul(difference, high_);
    const Float residue = hn::MulAdd(difference, low_, hn::MulSub(difference, high_, t));
    const Float round = hn::Set(d, kRoundToInteger);
    const Float biased = hn::Add(t, round);
    const Float f = hn::Add(hn::Sub(t, hn::Sub(biased, round)), residue);
    Float q = hn::Set(d, 0.00015345811808457552f * kOne);
    q = hn::MulAdd(q, f, hn::Set(d, 0.001339993142330801f * kOne));
    q = hn::MulAdd(q, f, hn::Set(d, 0.009618488959641097f * kOne));
    q = hn::MulAdd(q, f, hn::Set(d, 0.05550328776463515f * kOne));
    q = hn::MulAdd(q, f, hn::Set(d, 0.24022646890593874f * kOne));
    q = hn::MulAdd(q, f, hn::Set(d, 0.6931472057374956f * kOne));
    const Word mantissa =
        hn::Add(hn::BitCast(du, hn::NearestInt(hn::Mul(f, q))), hn::Set(du, uint32_t{1} << 30));
    // The weight is mantissa * 2^(n + F - 30), n = rint(t), rounded half up; twice the weight is
    // ((mantissa << 32) >> (61 - F - n)) + 1 without its lowest bit. The shift is in [17, 63].
    const Word shift = hn::Sub(shift_bias_, hn::BitCast(du, biased));
    const Wide both = hn::BitCast(dw, mantissa);
    const Wide both_shifts = hn::BitCast(dw, shift);
    const Wide upper = hn::Set(dw, 0xffffffff00000000u);
    return {Round(hn::Shr(hn::ShiftLeft<32>(both), hn::AndNot(upper, both_shifts))),
            Round(hn::Shr(hn::And(both, upper), hn::ShiftRight<32>(both_shifts)))};
  }

 private:
  static constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  static constexpr uint32_t kRoundBits = 0x4b400000;     // its bits
  static constexpr float kOne = 1073741824.0f;           // 2^30

  static HWY_INLINE Wide Round(Wide shifted) {
    const Wides dw;
    return hn::AndNot(hn::Set(dw, 1), hn::Add(shifted, hn::Set(dw, 1)));
  }

  Float max_;
  Float lowest_;
  Float high_;
  Float low_;
  Word shift_bias_;
};

// PlainWeight on every lane.
class PlainWeigher {
 public:
  explicit PlainWeigher(const Weigher& weigher) : scale_(hn::Set(Doubles(), weigher.plain_scale)) {}

  HWY_INLINE DoubledWeights operator()(Float x) const {
    const Floats d;
    const Wides dw;
    const Wide lower = Weigh(hn::LowerHalf(x));
    const Wide upper = Weigh(hn::UpperHalf(hn::Half<Floats>(), x));
    return {hn::ConcatEven(dw, upper, lower), hn::ConcatOdd(dw, upper, lower)};
  }

 private:
  using Doubles = hn::ScalableTag<double>;

  // Adding 2^52 rounds to an integer, which is then in the low bits of the sum.
  HWY_INLINE Wide Weigh(hn::Vec<hn::Half<Floats>> x) const {
    const Doubles d64;
    const Wides dw;
    const auto biased =
        hn::Add(hn::Mul(hn::PromoteTo(d64, x), scale_), hn::Set(d64, 4503599627370496.0));
    const Wide weight = hn::And(hn::BitCast(dw, biased), hn::Set(dw, (uint64_t{1} << 52) - 1));
    return hn::Add(weight, weight);
  }

  hn::Vec<Doubles> scale_;
};
#else
// Without fused multiply-add, lane by lane.
template <bool plain>
class LaneWeigher {
 public:
  explicit LaneWeigher(const Weigher& weigher) : weigher_(weigher) {}

  HWY_INLINE DoubledWeights operator()(Float x) const {
    float lanes[kLanes];
    hn::StoreU(x, Floats(), lanes);
    uint64_t doubled[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      doubled[i] = 2 * (plain ? PlainWeight(lanes[i], weigher_.plain_scale)
                              : LogitWeight(lanes[i] - weigher_.max, weigher_.scale));
    }
    DoubledWeights result;
    hn::LoadInterleaved2(Wides(), doubled, result.even, result.odd);
    return result;
  }

 private:
  Weigher weigher_;
};
using LogitWeigher = LaneWeigher<false>;
using PlainWeigher = LaneWeigher<true>;
#endif

// A value whose weight is 0 whatever the rest of the row.
float WeightlessValue(const Weigher& weigher) { return weigher.plain ? 0.0f : -kInfinity; }

template <DataType type, class VectorWeigher>
void WeighRange(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                uint64_t* out) {
  const Wides dw;
  const VectorWeigher weigh(weigher);
  for (int64_t index = begin; index < end; index += kLanes, out += kLanes) {
    const DoubledWeights doubled =
        weigh(LoadUpTo<type>(values, index, end, WeightlessValue(weigher)));
    hn::StoreInterleaved2(hn::ShiftRight<1>(doubled.even), hn::ShiftRight<1>(doubled.odd), dw, out);
  }
}

template <DataType type>
void Weigh(const void* values, int64_t begin, int64_t end, const Weigher& weigher, uint64_t* out) {
  if (weigher.plain) {
    WeighRange<type, PlainWeigher>(values, begin, end, weigher, out);
  } else {
    WeighRange<type, LogitWeigher>(values, begin, end, weigher, out);
  }
}

template <DataType type, class VectorWeigher, bool with_above>
void WeighBlocksAs(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                   float threshold, uint64_t* all, uint64_t* above) {
  const Floats d;
  const Words du;
  const Wides dw;
  const VectorWeigher weigh(weigher);
  const Float limit = hn::Set(d, threshold);
  const float padding = WeightlessValue(weigher);
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, end);
    Wide even_all = hn::Zero(dw);
    Wide odd_all = hn::Zero(dw);
    Wide even_above = hn::Zero(dw);
    Wide odd_above = hn::Zero(dw);
    for (int64_t index = block; index < block_end; index += kLanes) {
      const Float x = LoadUpTo<type>(values, index, block_end, padding);
      const DoubledWeights doubled = weigh(x);
      even_all = hn::Add(even_all, doubled.even);
      odd_all = hn::Add(odd_all, doubled.odd);
      if constexpr (with_above) {
        const Word keep = hn::VecFromMask(du, hn::RebindMask(du, hn::Ge(x, limit)));
        even_above = hn::Add(even_above, hn::And(doubled.even, hn::BitCast(dw, hn::DupEven(keep))));
        odd_above = hn::Add(odd_above, hn::And(doubled.odd, hn::BitCast(dw, hn::DupOdd(keep))));
      }
    }
    *all++ = hn::GetLane(hn::SumOfLanes(dw, hn::Add(even_all, odd_all))) / 2;
    if constexpr (with_above) {
      *above++ = hn::GetLane(hn::SumOfLanes(dw, hn::Add(even_above, odd_above))) / 2;
    }
  }
}

template <DataType type, class VectorWeigher>
void WeighBlocksWith(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                     float threshold, uint64_t* all, uint64_t* above) {
  if (above != nullptr) {
    WeighBlocksAs<type, VectorWeigher, true>(values, begin, end, weigher, threshold, all, above);
  } else {
    WeighBlocksAs<type, VectorWeigher, false>(values, begin, end, weigher, threshold, all, above);
  }
}

template <DataType type>
void WeighBlocks(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                 float threshold, uint64_t* all, uint64_t* above) {
  if (weigher.plain) {
    WeighBlocksWith<type, PlainWeigher>(values, begin, end, weigher, threshold, all, above);
  } else {
    WeighBlocksWith<type, LogitWeigher>(values, begin, end, weigher, threshold, all, above);
  }
}

// ---- Lists of values ----

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

void Bin(const float* values, int64_t count, float top, float scale, uint32_t last,
         uint32_t* bins) {
  const Floats d;
  const Words du;
  const Float last_value = hn::Set(d, static_cast<float>(last));
  for (int64_t i = 0; i < count; i += kLanes) {
    const Float distance =
        hn::Mul(hn::Sub(hn::Set(d, top), LoadUpTo<DataType::kFloat32>(values, i, count, top)),
                hn::Set(d, scale));
    hn::StoreU(
        hn::BitCast(du, hn::ConvertTo(hn::RebindToSigned<Floats>(), hn::Min(distance, last_value))),
        du, bins + i);
  }
}

// ---- The table ----

template <DataType type>
constexpr RowKernels MakeRowKernels() {
  return {Scan<type>,   FindFirst<type>, Collect<type>,    Widen<type>,
          Sample<type>, Weigh<type>,     WeighBlocks<type>};
}

const Kernels* TargetKernels() {
  static const Kernels kernels = {
      hwy::TargetName(HWY_TARGET),
      kLanes,
      {MakeRowKernels<DataType::kFloat32>(), MakeRowKernels<DataType::kFloat16>(),
       MakeRowKernels<DataType::kBFloat16>(), MakeRowKernels<DataType::kFloat64>()},
      CountAtLeast,
      SumAtLeast,
      Bin};
  return &kernels;
}

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled include guard
