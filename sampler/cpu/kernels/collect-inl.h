// Packs the values that are wanted of a row or a list, with their places: for the SIMD target that
// HWY_TARGET names.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_COLLECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_COLLECT_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_COLLECT_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_COLLECT_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "hwy/highway.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/kernels/values-inl.h"

// NOLINTBEGIN(misc-definitions-in-headers): only kernels.cc includes this, once per SIMD target,
// each of which has a namespace of its own.
HWY_BEFORE_NAMESPACE();
namespace token_sampler::cpu::HWY_NAMESPACE {

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

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
