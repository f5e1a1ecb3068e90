// The kernels, compiled for the target that HWY_TARGET names. Only kernels.cc includes this, once
// per target.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/weight.h"
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

// ---- Values ----

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

#if HWY_TARGET != HWY_AVX3
// For each mask of a vector of `parts` equal parts, the indices of the 32-bit lanes of the true
// parts, in order. Used instead of hn::Compress, because GCC copies its table to the stack at each
// use.
template <int parts>
struct CompressTable {
  static constexpr int kPartLanes = static_cast<int>(kLanes) / parts;

  constexpr CompressTable() {
    for (int mask = 0; mask < 1 << parts; ++mask) {
      int count = 0;
      for (int lane = 0; lane < kLanes; ++lane) {
        if ((mask >> (lane / kPartLanes) & 1) == 0) continue;
        lanes[mask][count++] = static_cast<uint8_t>(lane);
      }
    }
  }

  uint8_t lanes[1 << parts][kLanes] = {};
};

constexpr CompressTable<kLanes> kCompressTable;
constexpr CompressTable<kLanes / 2> kWideCompressTable;

// Returns the lanes of x whose indices are at `from`.
HWY_INLINE Word TakeLanes(Word x, const uint8_t* from) {
  const Words du;
  const hn::Rebind<uint8_t, Words> d8;
  return hn::TableLookupLanes(x, hn::IndicesFromVec(du, hn::PromoteTo(du, hn::LoadU(d8, from))));
}
#endif

// Moves the lanes for which the mask is true to the front of a vector, in order. The other lanes
// are unspecified.
class Packer {
 public:
  HWY_INLINE explicit Packer(hn::Mask<Floats> mask) : mask_(mask) {
    hn::StoreMaskBits(Floats(), mask, bits_);
  }

  HWY_INLINE size_t count() const { return hn::CountTrue(Floats(), mask_); }

#if HWY_TARGET == HWY_AVX3
  // Compressing in a register and storing the whole register is much faster than a compressing
  // store.
  HWY_INLINE Word operator()(Word x) const {
    return hn::Compress(x, hn::RebindMask(Words(), mask_));
  }

  // Stores the weights of a vector's first and second half of lanes.
  HWY_INLINE void Store(Wide first, Wide second, uint64_t* to) const {
    StoreHalf(first, bits_[0], to);
    StoreHalf(second, bits_[1], to + std::popcount(bits_[0]));
  }
#else
  HWY_INLINE Word operator()(Word x) const { return TakeLanes(x, kCompressTable.lanes[bits_[0]]); }

  HWY_INLINE void Store(Wide first, Wide second, uint64_t* to) const {
    constexpr unsigned kHalf = kLanes / 2;
    const unsigned low = bits_[0] & ((1U << kHalf) - 1);
    StoreHalf(first, low, to);
    StoreHalf(second, static_cast<unsigned>(bits_[0]) >> kHalf, to + std::popcount(low));
  }
#endif

 private:
  static HWY_INLINE void StoreHalf(Wide x, unsigned bits, uint64_t* to) {
#if HWY_TARGET == HWY_AVX3
    // hn::Compress uses a table for 64-bit lanes.
    const Wide packed{_mm512_maskz_compress_epi64(static_cast<__mmask8>(bits), x.raw)};
#else
    const Wide packed =
        hn::BitCast(Wides(), TakeLanes(hn::BitCast(Words(), x), kWideCompressTable.lanes[bits]));
#endif
    hn::StoreU(packed, Wides(), to);
  }

  hn::Mask<Floats> mask_;
  uint8_t bits_[8];
};

// The range that `collect` searches for.
struct Wanted {
  HWY_INLINE explicit Wanted(ValueRange range)
      : low(hn::Set(Floats(), range.low)),
        high(hn::Set(Floats(), range.high)),
        lanes(hn::Iota(Words(), 0)) {}

  Float low;
  Float high;
  Word lanes;  // 0, 1, ..: made once, because hn::Iota goes through memory
};

// The outputs of `collect`, and their number so far.
struct Collected {
  float* values;
  uint32_t* positions;
  size_t count;
};

// Appends the wanted lanes of x.
HWY_INLINE Collected Append(Float x, int64_t position, const Wanted& wanted, Collected to) {
  const Floats d;
  const Words du;
  const auto inside = hn::And(hn::Ge(x, wanted.low), hn::Lt(x, wanted.high));
  const Word positions = hn::Add(wanted.lanes, hn::Set(du, static_cast<uint32_t>(position)));
  const Packer pack(inside);
  hn::StoreU(hn::BitCast(d, pack(hn::BitCast(du, x))), d, to.values + to.count);
  hn::StoreU(pack(positions), du, to.positions + to.count);
  to.count += pack.count();
  return to;
}

template <DataType type>
HWY_INLINE Collected CollectRange(const void* values, int64_t begin, int64_t end,
                                  const Wanted& wanted, Collected to) {
  int64_t index = begin;
  for (; end - index >= kLanes; index += kLanes) {
    to = Append(LoadValues<type>(values, index), index, wanted, to);
  }
  if (index == end) return to;
  // NaN is in no range.
  const Float rest =
      LoadSomeValues<type>(values, index, end - index, std::numeric_limits<float>::quiet_NaN());
  return Append(rest, index, wanted, to);
}

// For a whole group with few wanted values. Sets a bit for each of these first and then visits the
// bits, so that no branch depends on a single vector.
template <DataType type>
HWY_INLINE Collected CollectFew(const void* values, int64_t begin, const Wanted& wanted,
                                Collected to) {
  const Floats d;
  constexpr int64_t kVectorBytes = (kLanes + 7) / 8;
  constexpr int64_t kWordVectors = std::min(kGroupVectors, 64 / kLanes);
  for (int64_t vector = 0; vector < kGroupVectors; vector += kWordVectors) {
    const int64_t first = begin + vector * kLanes;
    uint64_t bits = 0;
    for (int64_t i = 0; i < kWordVectors; ++i) {
      const Float x = LoadValues<type>(values, first + i * kLanes);
      uint8_t mask[8] = {};
      hn::StoreMaskBits(d, hn::And(hn::Ge(x, wanted.low), hn::Lt(x, wanted.high)), mask);
      uint64_t some = 0;
      std::memcpy(&some, mask, kVectorBytes);
      bits |= some << (i * kLanes);
    }
    for (; bits != 0; bits &= bits - 1) {
      const int64_t index = first + std::countr_zero(bits);
      to.values[to.count] = LoadAsFloat(values, type, index);
      to.positions[to.count++] = static_cast<uint32_t>(index);
    }
  }
  return to;
}

template <DataType type>
size_t Collect(const void* values, int64_t begin, int64_t end, const float* column_max,
               ValueRange range, size_t limit, float* out_values, uint32_t* out_positions) {
  const Floats d;
  const Wanted wanted(range);
  Collected to = {out_values, out_positions, 0};
  for (int64_t group = begin; group < end && to.count < limit;
       group += kGroup, column_max += kLanes) {
    const size_t columns = hn::CountTrue(d, hn::Ge(hn::LoadU(d, column_max), wanted.low));
    if (columns == 0) continue;
    const int64_t group_end = std::min(group + kGroup, end);
    to = columns <= kLanes / 2 && group_end - group == kGroup
             ? CollectFew<type>(values, group, wanted, to)
             : CollectRange<type>(values, group, group_end, wanted, to);
  }
  return to.count;
}

size_t Retain(float* values, uint32_t* ids, uint64_t* weights, size_t begin, size_t end, size_t to,
              float last_value, uint32_t last_id) {
  const Floats d;
  const Words du;
  const Wides dw;
  const Float value = hn::Set(d, last_value);
  const Word id = hn::Set(du, last_id);
  for (size_t i = begin; i < end; i += kLanes) {
    const Float x = hn::LoadU(d, values + i);
    const Word ids_here = hn::LoadU(du, ids + i);
    const Wide first = hn::LoadU(dw, weights + i);
    const Wide second = hn::LoadU(dw, weights + i + kLanes / 2);
    // Vectors can only compare signed integers, so test ids_here <= id by the minimum of the two.
    const auto up_to_id = hn::RebindMask(d, hn::Eq(hn::Min(ids_here, id), ids_here));
    auto keep = hn::Or(hn::Gt(x, value), hn::And(hn::Eq(x, value), up_to_id));
    if (end - i < kLanes) keep = hn::And(keep, hn::FirstN(d, end - i));
    // Overwrites only what was loaded already, because `to` <= i.
    const Packer pack(keep);
    hn::StoreU(hn::BitCast(d, pack(hn::BitCast(du, x))), d, values + to);
    hn::StoreU(pack(ids_here), du, ids + to);
    pack.Store(first, second, weights + to);
    to += pack.count();
  }
  return to;
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

// ---- Weights ----

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
      Retain,
      Bin};
  return &kernels;
}

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
