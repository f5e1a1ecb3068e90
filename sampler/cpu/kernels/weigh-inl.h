// Weighs values by SPEC.md §4, and sums the weights of blocks: for the SIMD target that HWY_TARGET
// names.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_WEIGH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_WEIGH_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_WEIGH_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_WEIGH_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/highway.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/kernels/values-inl.h"

// NOLINTBEGIN(misc-definitions-in-headers): only kernels.cc includes this, once per SIMD target,
// each of which has a namespace of its own.
HWY_BEFORE_NAMESPACE();
namespace token_sampler::cpu::HWY_NAMESPACE {

// Twice the weights of a vector's even and odd lanes.
struct DoubledWeights {
  Wide even;
  Wide odd;
};

#if HWY_NATIVE_FMA
// LogitWeight on every lane: the same float operations in the same order, except for two changes
// that do not alter the results. The polynomial is scaled by 2^30 from the start, and values below
// the floor get a difference whose weight is 0.
class LogitWeigher {
 public:
  HWY_INLINE explicit LogitWeigher(const Weigher& weigher)
      : floor_(hn::Set(Floats(), weigher.floor)),
        max_(hn::Set(Floats(), weigher.max)),
        lowest_(hn::Set(Floats(), weigher.lowest_difference)),
        high_(hn::Set(Floats(), weigher.scale.high)),
        low_(hn::Set(Floats(), weigher.scale.low)),
        shift_bias_(hn::Set(
            Words(), kRoundBits + 61 - static_cast<uint32_t>(weigher.scale.fraction_bits))) {}

  HWY_INLINE DoubledWeights operator()(Float x) const {
    const Floats d;
    const Words du;
    const Wides dw;
    const Float difference = hn::IfThenElse(hn::Ge(x, floor_), hn::Sub(x, max_), lowest_);
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
    const Word mantissa = hn::Add(RoundToInteger(hn::Mul(f, q)), hn::Set(du, uint32_t{1} << 30));
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

  // hn::NearestInt without its handling of numbers beyond int32, which do not occur here.
  static HWY_INLINE Word RoundToInteger(Float x) {
#if HWY_TARGET == HWY_AVX3
    return Word{_mm512_cvtps_epi32(x.raw)};
#elif HWY_TARGET == HWY_AVX2
    return Word{_mm256_cvtps_epi32(x.raw)};
#else
    return hn::BitCast(Words(), hn::NearestInt(x));
#endif
  }

  static HWY_INLINE Wide Round(Wide shifted) {
    const Wides dw;
    return hn::AndNot(hn::Set(dw, 1), hn::Add(shifted, hn::Set(dw, 1)));
  }

  Float floor_;
  Float max_;
  Float lowest_;
  Float high_;
  Float low_;
  Word shift_bias_;
};

// PlainWeight on every lane.
class PlainWeigher {
 public:
  HWY_INLINE explicit PlainWeigher(const Weigher& weigher)
      : floor_(hn::Set(Floats(), weigher.floor)), scale_(hn::Set(Doubles(), weigher.plain_scale)) {}

  HWY_INLINE DoubledWeights operator()(Float value) const {
    const Wides dw;
    const Float x = hn::IfThenElseZero(hn::Ge(value, floor_), value);
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

  Float floor_;
  hn::Vec<Doubles> scale_;
};
#else
// For targets without fused multiply-add: weighs lane by lane.
class LaneWeigher {
 public:
  explicit LaneWeigher(const Weigher& weigher) : weigher_(weigher) {}

  HWY_INLINE DoubledWeights operator()(Float x) const {
    float lanes[kLanes];
    hn::StoreU(x, Floats(), lanes);
    uint64_t doubled[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      doubled[i] = lanes[i] < weigher_.floor ? 0 : 2 * weigher_.WeightOf(lanes[i]);
    }
    DoubledWeights result;
    hn::LoadInterleaved2(Wides(), doubled, result.even, result.odd);
    return result;
  }

 private:
  Weigher weigher_;
};
using LogitWeigher = LaneWeigher;
using PlainWeigher = LaneWeigher;
#endif

// Returns a value whose weight is 0 in any row.
float WeightlessValue(const Weigher& weigher) { return weigher.plain ? 0.0f : -kInfinity; }

template <class VectorWeigher>
struct WeighStep {
  VectorWeigher weigh;
  uint64_t* out;

  HWY_INLINE void operator()(int64_t, Float x) {
    const DoubledWeights doubled = weigh(x);
    hn::StoreInterleaved2(hn::ShiftRight<1>(doubled.even), hn::ShiftRight<1>(doubled.odd), Wides(),
                          out);
    out += kLanes;
  }
};

template <DataType type, class VectorWeigher>
void WeighRange(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                uint64_t* out) {
  WeighStep<VectorWeigher> step{VectorWeigher(weigher), out};
  ForVectors<type>(values, begin, end, WeightlessValue(weigher), step);
}

template <DataType type>
void Weigh(const void* values, int64_t begin, int64_t end, const Weigher& weigher, uint64_t* out) {
  if (weigher.plain) {
    WeighRange<type, PlainWeigher>(values, begin, end, weigher, out);
  } else {
    WeighRange<type, LogitWeigher>(values, begin, end, weigher, out);
  }
}

template <class VectorWeigher, bool with_above>
struct SumStep {
  HWY_INLINE SumStep(const Weigher& weigher, float threshold)
      : weigh(weigher),
        limit(hn::Set(Floats(), threshold)),
        all(hn::Zero(Wides())),
        above(hn::Zero(Wides())) {}

  HWY_INLINE void operator()(int64_t, Float x) {
    const Words du;
    const Wides dw;
    const DoubledWeights doubled = weigh(x);
    all = hn::Add(all, hn::Add(doubled.even, doubled.odd));
    if constexpr (with_above) {
      const Word keep = hn::VecFromMask(du, hn::RebindMask(du, hn::Ge(x, limit)));
      const Wide even = hn::And(doubled.even, hn::BitCast(dw, hn::DupEven(keep)));
      const Wide odd = hn::And(doubled.odd, hn::BitCast(dw, hn::DupOdd(keep)));
      above = hn::Add(above, hn::Add(even, odd));
    }
  }

  VectorWeigher weigh;
  Float limit;
  Wide all;
  Wide above;
};

template <DataType type, class VectorWeigher, bool with_above>
void WeighBlocksAs(const void* values, int64_t begin, int64_t end, const Weigher& weigher,
                   float threshold, uint64_t* all, uint64_t* above) {
  const Wides dw;
  SumStep<VectorWeigher, with_above> step(weigher, threshold);
  const float padding = WeightlessValue(weigher);
  for (int64_t block = begin; block < end; block += kBlock) {
    step.all = hn::Zero(dw);
    step.above = hn::Zero(dw);
    ForVectors<type>(values, block, std::min(block + kBlock, end), padding, step);
    *all++ = hn::GetLane(hn::SumOfLanes(dw, step.all)) / 2;
    if constexpr (with_above) *above++ = hn::GetLane(hn::SumOfLanes(dw, step.above)) / 2;
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

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
