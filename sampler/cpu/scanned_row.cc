#include "sampler/cpu/scanned_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_values.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The least number of tokens per thread for which sharing a row is worthwhile.
constexpr int64_t kSliceTokens = int64_t{1} << 16;

// The tokens of a long row that one thread processes between two calls of its pace. A multiple of
// every unit in which a row is divided, and of the period of TakeSample.
constexpr int64_t kPieceTokens = int64_t{1} << 17;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

size_t ScannedRow::SliceCount() const {
  if (pool_ == nullptr) return 1;
  return static_cast<size_t>(std::clamp<int64_t>(row_->vocab / kSliceTokens, 1, pool_->threads()));
}

void ScannedRow::ForSlices(int64_t unit,
                           absl::FunctionRef<void(size_t, int64_t, int64_t)> body) const {
  const auto slices = static_cast<int64_t>(SliceCount());
  InPieces(pace(), static_cast<size_t>(CeilDivide(row_->vocab, unit)),
           static_cast<size_t>(slices * kPieceTokens / unit), [&](size_t first, size_t last) {
             const auto begin = static_cast<int64_t>(first);
             const auto units = static_cast<int64_t>(last) - begin;
             const auto run = [&](size_t slice) {
               const auto i = static_cast<int64_t>(slice);
               body(slice, (begin + units * i / slices) * unit,
                    std::min((begin + units * (i + 1) / slices) * unit, row_->vocab));
             };
             if (slices == 1) {
               run(0);
             } else {
               pool_->ForEach(static_cast<size_t>(slices), run);
             }
           });
}

template <class Body>
void ScannedRow::ForPieces(const Body& body) const {
  InPieces(pace(), static_cast<size_t>(row_->vocab), size_t{kPieceTokens},
           [&](size_t begin, size_t end) {
             body(static_cast<int64_t>(begin), static_cast<int64_t>(end));
           });
}

void ScannedRow::Begin(const RowInput& row, ThreadPool* pool) {
  row_ = &row;
  changed_ = nullptr;
  loops_ = &kernels_.For(row.dtype);
  pool_ = pool;
  const auto columns_of = [&](int64_t count) {
    return static_cast<size_t>(CeilDivide(count, kernels_.group()) * kernels_.lanes);
  };
  columns_ = columns_of(row.vocab);
  column_max_.Reserve(columns_);
  coarse_columns_ = columns_of(static_cast<int64_t>(columns_));
  coarse_max_.Reserve(coarse_columns_);
}

bool ScannedRow::Finish(Extent extent, RowResult& result) {
  const bool logits = row_->kind == InputKind::kLogits;
  if (extent.suspicious || (!logits && extent.min < 0)) {
    CopyChanged();
    if (FailAtInvalidValue(*row_, result)) return false;
  }
  max_ = kernels_.For(DataType::kFloat32)
             .scan(column_max_.data(), 0, static_cast<int64_t>(columns_), false, coarse_max_.data())
             .max +
         0.0f;
  floor_ = logits ? std::numeric_limits<float>::lowest() : std::numeric_limits<float>::denorm_min();
  if (max_ >= floor_) return true;
  FailWithoutTokens(row_->kind, result);
  return false;
}

bool ScannedRow::Scan(const RowInput& row, ThreadPool* pool, RowResult& result) {
  Begin(row, pool);
  slice_extents_.assign(SliceCount(), Extent{-kInfinity, kInfinity, false});
  const bool with_min = row.kind == InputKind::kWeights;
  ForSlices(kernels_.group(), [&](size_t slice, int64_t begin, int64_t end) {
    if (begin == end) return;
    slice_extents_[slice] = slice_extents_[slice].With(
        loops_->scan(row.values, begin, end, with_min, column_max_.data() + begin / kGroupVectors));
  });
  Extent extent = slice_extents_[0];
  for (const Extent& part : slice_extents_) extent = extent.With(part);
  return Finish(extent, result);
}

bool ScannedRow::ScanChanged(const ScannedRow& before, const ChangedTokens& changed,
                             RowResult& result) {
  Begin(before.input(), before.pool_);
  changed_ = &changed;
  InPieces(pace(), columns_, static_cast<size_t>(kPieceTokens), [&](size_t begin, size_t end) {
    std::copy(before.column_max_.data() + begin, before.column_max_.data() + end,
              column_max_.data() + begin);
  });
  Extent extent = {-kInfinity, kInfinity, false};
  const LargeVector<uint32_t>& ids = changed.ids();
  ForEachScattered(pace(), ids.size(), [&](size_t i) {
    const float value = ValueOf(ids[i]);
    extent.min = std::min(extent.min, value);
    extent.suspicious |= std::isnan(value) || value == kInfinity;
    UpdateColumn(ids[i], before.ValueOf(ids[i]));
  });
  return Finish(extent, result);
}

RowInput ScannedRow::Widen(Buffer<float>& values) const {
  values.Reserve(static_cast<size_t>(row_->vocab));
  ForSlices(kernels_.group(), [&](size_t, int64_t begin, int64_t end) {
    loops_->widen(row_->values, begin, end, values.data() + begin);
  });
  RowInput widened = *row_;
  widened.values = values.data();
  widened.dtype = DataType::kFloat32;
  return widened;
}

void ScannedRow::CopyChanged() {
  if (changed_ == nullptr) return;
  copy_ = Widen(copied_values_);
  const LargeVector<uint32_t>& ids = changed_->ids();
  ForEachScattered(pace(), ids.size(),
                   [&](size_t i) { copied_values_[ids[i]] = changed_->ValueOf(ids[i]); });
  row_ = &copy_;
  loops_ = &kernels_.For(copy_.dtype);
  changed_ = nullptr;
}

void ScannedRow::UpdateColumn(uint32_t id, float before) {
  const int64_t lane = id % kernels_.lanes;
  const int64_t group = id / kernels_.group();
  float& max = column_max_[static_cast<size_t>(group * kernels_.lanes + lane)];
  const float value = ValueOf(id);
  if (value >= max) {
    max = value;
  } else if (before >= max) {
    // Another token of the column may be the greatest now.
    max = -kInfinity;
    const int64_t end = std::min((group + 1) * kernels_.group(), row_->vocab);
    for (int64_t i = group * kernels_.group() + lane; i < end; i += kernels_.lanes) {
      max = std::max(max, ValueOf(static_cast<uint32_t>(i)));
    }
  }
}

uint32_t ScannedRow::First() {
  if (changed_ != nullptr) {
    Collect({max_, kInfinity}, others_);
    return others_.ids[0];
  }
  return static_cast<uint32_t>(
      loops_->find_first(row_->values, row_->vocab, column_max_.data(), max_));
}

Weigher ScannedRow::MakeWeigher(double temperature) const {
  const int fraction_bits = FractionBits(row_->vocab);
  Weigher weigher;
  weigher.plain = row_->kind == InputKind::kWeights;
  weigher.scale.fraction_bits = fraction_bits;
  if (weigher.plain) {
    weigher.floor = floor_;
    weigher.plain_scale = PlainWeightScale(max_, fraction_bits);
    return weigher;
  }
  weigher.max = max_;
  weigher.scale = MakeWeightScale(temperature, fraction_bits);
  // Half an octave or more below the least weight that rounds to 1.
  weigher.lowest_difference = static_cast<float>(
      -(fraction_bits + 2) / (double{weigher.scale.high} + double{weigher.scale.low}));
  weigher.floor = max_ + weigher.lowest_difference;
  while (weigher.floor - max_ < weigher.lowest_difference) {
    weigher.floor = std::nextafter(weigher.floor, kInfinity);
  }
  return weigher;
}

uint64_t ScannedRow::ColumnsAtLeast(float value) const {
  return kernels_.count_at_least(column_max_.data(), columns_, value);
}

float ScannedRow::Quantile(const Buffer<float>& columns, size_t size, uint64_t count,
                           float low) const {
  uint32_t least = OrderedBits(low);
  uint32_t most = OrderedBits(max_);
  const uint64_t enough = count + count / 4;
  while (least < most) {
    const uint32_t middle = least + (most - least + 1) / 2;
    Ask(pace());
    const uint64_t above = kernels_.count_at_least(columns.data(), size, FromOrderedBits(middle));
    if (above >= count) {
      least = middle;
      if (above <= enough) break;
    } else {
      most = middle - 1;
    }
  }
  return FromOrderedBits(least);
}

float ScannedRow::ColumnQuantile(uint64_t count) const {
  float low = floor_;
  // A value that `count` coarse columns reach is reached by at least as many columns, and by few
  // more unless the row has some order.
  if (count <= coarse_columns_ / 2 &&
      kernels_.count_at_least(coarse_max_.data(), coarse_columns_, floor_) >= count) {
    low = Quantile(coarse_max_, coarse_columns_, count, floor_);
    if (ColumnsAtLeast(low) <= 2 * count) return low;
  } else if (ColumnsAtLeast(floor_) < count) {
    return floor_;
  }
  return Quantile(column_max_, columns_, count, low);
}

void ScannedRow::Collect(ValueRange range, TokenList& list) { CollectUpTo(SIZE_MAX, range, list); }

void ScannedRow::CollectUpTo(size_t limit, ValueRange range, TokenList& list) {
  list.Reserve(static_cast<size_t>(row_->vocab));
  list.count = 0;
  list.pace = pace();
  ForPieces([&](int64_t begin, int64_t end) {
    if (list.count >= limit) return;
    // Touch the ids before, so that no piece touches both arrays for the first time.
    TouchPaced(pace(), static_cast<size_t>(end - begin), list.ids.data() + list.count);
    list.count += loops_->collect(
        row_->values, begin, end, column_max_.data() + begin / kGroupVectors, range,
        limit - list.count, list.values.data() + list.count, list.ids.data() + list.count);
  });
  if (changed_ != nullptr) ApplyChanges(range, list);
}

void ScannedRow::ApplyChanges(ValueRange range, TokenList& list) {
  size_t kept = 0;
  list.ForEach([&](size_t i) {
    const uint32_t id = list.ids[i];
    list.values[kept] = list.values[i];
    list.ids[kept] = id;
    kept += changed_->Has(id) ? 0 : 1;
  });
  added_ids_.clear();
  const LargeVector<uint32_t>& ids = changed_->ids();
  ForEachScattered(pace(), ids.size(), [&](size_t i) {
    const float value = changed_->ValueOf(ids[i]);
    if (value >= range.low && value < range.high) added_ids_.push_back(ids[i]);
  });
  SortByKey(
      pace(), added_ids_.data(), added_ids_.size(), [](uint32_t id) { return id; }, sorted_ids_);
  // Insert from the end, so that the tokens after a new one make room for it.
  size_t added = added_ids_.size();
  list.count = kept + added;
  while (added > 0) {
    const uint32_t id = added_ids_[added - 1];
    for (; kept > 0 && list.ids[kept - 1] > id; --kept) {
      if (kept % kPieceItems == 0) Ask(pace());
      list.values[kept + added - 1] = list.values[kept - 1];
      list.ids[kept + added - 1] = list.ids[kept - 1];
    }
    if (--added % kPieceItems == 0) Ask(pace());
    list.values[kept + added] = changed_->ValueOf(id);
    list.ids[kept + added] = id;
  }
}

void ScannedRow::CollectFirst(uint64_t count, TokenList& list) {
  const float low = ColumnQuantile(count);
  if (low == floor_ || ColumnsAtLeast(low) <= 2 * count) {
    Collect({low, kInfinity}, list);
    return;
  }
  // Fewer than `count` columns have a greater value, so most tokens at the end tie. The lowest ids
  // of those suffice.
  const float next = std::nextafter(low, kInfinity);
  CollectUpTo(count + (changed_ != nullptr ? changed_->ids().size() : 0), {low, next}, ties_);
  Collect({next, kInfinity}, others_);
  list.Reserve(ties_.count + others_.count);
  list.count = 0;
  list.pace = pace();
  size_t tie = 0;
  for (size_t other = 0; other <= others_.count; ++other) {
    const uint32_t end = other < others_.count ? others_.ids[other] : UINT32_MAX;
    for (; tie < ties_.count && ties_.ids[tie] < end; ++tie) {
      if (list.count % kPieceItems == 0) Ask(pace());
      list.Append(ties_.values[tie], ties_.ids[tie]);
    }
    if (other == others_.count) break;
    if (list.count % kPieceItems == 0) Ask(pace());
    list.Append(others_.values[other], end);
  }
}

void ScannedRow::WeighBlock(int64_t block, const Weigher& weigher, uint64_t* weights) const {
  loops_->weigh(row_->values, block * kBlock, std::min((block + 1) * kBlock, row_->vocab), weigher,
                weights);
}

RowMass ScannedRow::WeighBlocks(const Weigher& weigher, float threshold,
                                Buffer<uint64_t>& block_mass) {
  CopyChanged();
  const auto blocks = static_cast<size_t>(CeilDivide(row_->vocab, kBlock));
  const bool partly = threshold > weigher.floor;
  uint64_t* above = block_mass.Reserve(blocks);
  uint64_t* all = partly ? all_mass_.Reserve(blocks) : above;
  ForSlices(kBlock, [&](size_t, int64_t begin, int64_t end) {
    const int64_t block = begin / kBlock;
    loops_->weigh_blocks(row_->values, begin, end, weigher, threshold, all + block,
                         partly ? above + block : nullptr);
  });
  RowMass mass = {0, 0};
  for (size_t i = 0; i < blocks; ++i) {
    mass.all += all[i];
    mass.above += above[i];
  }
  return mass;
}

double ScannedRow::MassBound(const Weigher& weigher, float value) {
  const auto columns = static_cast<int64_t>(columns_);
  const auto blocks = static_cast<size_t>(CeilDivide(columns, kBlock));
  uint64_t* all = bound_mass_.Reserve(2 * blocks);
  uint64_t* above = all + blocks;
  kernels_.For(DataType::kFloat32)
      .weigh_blocks(column_max_.data(), 0, columns, weigher, value, all, above);
  double mass = static_cast<double>(ColumnsAtLeast(value)) *
                static_cast<double>(weigher.WeightOf(std::min(value, max_)));
  for (size_t i = 0; i < blocks; ++i) mass += static_cast<double>(all[i] - above[i]);
  // A lower value may weigh more by 2^-25 of its weight, and by the rounding of weights.
  constexpr double kMargin = 1 + 0x1p-20;
  return (mass * static_cast<double>(kGroupVectors) + static_cast<double>(row_->vocab)) * kMargin;
}

uint64_t ScannedRow::CountAtLeast(float value) {
  Collect({value, kInfinity}, others_);
  return others_.count;
}

size_t ScannedRow::TakeSample(Buffer<float>& values) {
  CopyChanged();
  values.Reserve(columns_);
  const auto element = static_cast<int64_t>(ElementSize(row_->dtype));
  size_t taken = 0;
  ForPieces([&](int64_t begin, int64_t end) {
    taken += loops_->sample(static_cast<const char*>(row_->values) + begin * element, end - begin,
                            values.data() + taken);
  });
  return taken;
}

}  // namespace token_sampler::cpu
