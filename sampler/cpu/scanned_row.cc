#include "sampler/cpu/scanned_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampler/row_values.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows at least this long are worth sharing among threads.
constexpr int64_t kSliceTokens = int64_t{1} << 16;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

size_t ScannedRow::SliceCount() const {
  if (pool_ == nullptr) return 1;
  return static_cast<size_t>(std::clamp<int64_t>(row_->vocab / kSliceTokens, 1, pool_->threads()));
}

void ScannedRow::ForSlices(int64_t unit,
                           absl::FunctionRef<void(size_t, int64_t, int64_t)> body) const {
  const auto slices = static_cast<int64_t>(SliceCount());
  const int64_t units = CeilDivide(row_->vocab, unit);
  const auto run = [&](size_t slice) {
    const auto i = static_cast<int64_t>(slice);
    body(slice, units * i / slices * unit, std::min(units * (i + 1) / slices * unit, row_->vocab));
  };
  if (slices == 1) {
    run(0);
  } else {
    pool_->ForEach(static_cast<size_t>(slices), run);
  }
}

Extent ScannedRow::ScanRange(int64_t begin, int64_t end, float* widened) {
  Extent extent = {-kInfinity, kInfinity, false};
  // Parts that stay in the first cache until they are widened.
  constexpr int64_t kPart = 1 << 12;
  const int64_t part_size = widened == nullptr ? row_->vocab : kPart;
  for (int64_t part = begin; part < end; part += part_size) {
    const int64_t part_end = std::min(part + part_size, end);
    float* columns = column_max_.data() + part / kGroupVectors;
    const bool with_min = row_->kind == InputKind::kWeights;
    const Extent seen = loops_->scan(row_->values, part, part_end, with_min, columns);
    extent = extent.With(seen);
    if (widened != nullptr) loops_->widen(row_->values, part, part_end, widened + part);
  }
  return extent;
}

bool ScannedRow::Scan(const RowInput& row, ThreadPool* pool, float* widened, RowResult& result) {
  row_ = &row;
  loops_ = &kernels_.For(row.dtype);
  pool_ = pool;
  const bool logits = row.kind == InputKind::kLogits;
  columns_ = static_cast<size_t>(CeilDivide(row.vocab, kernels_.group()) * kernels_.lanes);
  column_max_.Reserve(columns_);
  slice_extents_.resize(SliceCount());
  ForSlices(kernels_.group(), [&](size_t slice, int64_t begin, int64_t end) {
    slice_extents_[slice] = ScanRange(begin, end, widened);
  });
  Extent extent = slice_extents_[0];
  for (const Extent& part : slice_extents_) extent = extent.With(part);
  if ((extent.suspicious || (!logits && extent.min < 0)) && FailAtInvalidValue(row, result)) {
    return false;
  }
  max_ = extent.max + 0.0f;
  floor_ = logits ? std::numeric_limits<float>::lowest() : std::numeric_limits<float>::denorm_min();
  if (max_ >= floor_) return true;
  FailWithoutTokens(row.kind, result);
  return false;
}

uint32_t ScannedRow::First() const {
  return static_cast<uint32_t>(
      loops_->find_first(row_->values, row_->vocab, column_max_.data(), max_));
}

Weigher ScannedRow::MakeWeigher(double temperature) const {
  const int fraction_bits = FractionBits(row_->vocab);
  Weigher weigher;
  weigher.plain = row_->kind == InputKind::kWeights;
  if (weigher.plain) {
    weigher.floor = floor_;
    weigher.plain_scale = PlainWeightScale(max_, fraction_bits);
    return weigher;
  }
  weigher.max = max_;
  weigher.scale = MakeWeightScale(temperature, fraction_bits);
  // Half an octave or more below the smallest weight that rounds to 1.
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

float ScannedRow::ColumnQuantile(uint64_t count) const {
  if (ColumnsAtLeast(floor_) < count) return floor_;
  uint32_t low = OrderedBits(floor_);
  uint32_t high = OrderedBits(max_);
  const uint64_t enough = count + count / 4;
  while (low < high) {
    const uint32_t middle = low + (high - low + 1) / 2;
    const uint64_t above = ColumnsAtLeast(FromOrderedBits(middle));
    if (above >= count) {
      low = middle;
      if (above <= enough) break;
    } else {
      high = middle - 1;
    }
  }
  return FromOrderedBits(low);
}

void ScannedRow::Collect(ValueRange range, TokenList& list) const {
  list.Reserve(static_cast<size_t>(row_->vocab));
  list.count = loops_->collect(row_->values, row_->vocab, column_max_.data(), range, SIZE_MAX,
                               list.values.data(), list.ids.data());
}

void ScannedRow::CollectFirst(uint64_t count, TokenList& list) {
  const float low = ColumnQuantile(count);
  if (low == floor_ || ColumnsAtLeast(low) <= 2 * count) {
    Collect({low, kInfinity}, list);
    return;
  }
  // Fewer columns have a greater value: most tokens at the end tie, and the first ids will do.
  const float next = std::nextafter(low, kInfinity);
  ties_.Reserve(static_cast<size_t>(row_->vocab));
  ties_.count = loops_->collect(row_->values, row_->vocab, column_max_.data(), {low, next}, count,
                                ties_.values.data(), ties_.ids.data());
  Collect({next, kInfinity}, others_);
  list.Reserve(ties_.count + others_.count);
  list.count = 0;
  size_t tie = 0;
  for (size_t other = 0; other <= others_.count; ++other) {
    const uint32_t end = other < others_.count ? others_.ids[other] : UINT32_MAX;
    for (; tie < ties_.count && ties_.ids[tie] < end; ++tie) {
      list.Append(ties_.values[tie], ties_.ids[tie]);
    }
    if (other < others_.count) list.Append(others_.values[other], end);
  }
}

void ScannedRow::WeighBlock(int64_t block, const Weigher& weigher, uint64_t* weights) const {
  loops_->weigh(row_->values, block * kBlock, std::min((block + 1) * kBlock, row_->vocab), weigher,
                weights);
}

RowMass ScannedRow::WeighBlocks(const Weigher& weigher, float threshold,
                                Buffer<uint64_t>& block_mass) {
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
  // A lower value may weigh more by 2^-25 of its weight, and by rounding.
  constexpr double kMargin = 1 + 0x1p-20;
  return (mass * static_cast<double>(kGroupVectors) + static_cast<double>(row_->vocab)) * kMargin;
}

uint64_t ScannedRow::CountAtLeast(float value) {
  Collect({value, kInfinity}, others_);
  return others_.count;
}

size_t ScannedRow::TakeSample(Buffer<float>& values) const {
  values.Reserve(columns_);
  return loops_->sample(row_->values, row_->vocab, values.data());
}

}  // namespace token_sampler::cpu
