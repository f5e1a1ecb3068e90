#include "sampler/cpu/filter/nucleus_guess.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/rows/paced.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The columns that the head, whose mass is not estimated by a sample, has about.
constexpr uint64_t kHeadColumns = 128;

// The error of the estimate, in standard deviations, for which the guess allows.
constexpr double kDeviations = 2.5;

}  // namespace

float NucleusGuess::SmallestOfSample(size_t count, Pace* pace) {
  float* const column_max = column_max_.Reserve(count);
  float smallest = kInfinity;
  InPieces(pace, count, size_t{kListPiece}, [&](size_t begin, size_t end) {
    const Extent extent = kernels_.For(DataType::kFloat32)
                              .scan(sample_.data(), static_cast<int64_t>(begin),
                                    static_cast<int64_t>(end), true, column_max);
    smallest = std::min(smallest, extent.min);
  });
  return smallest;
}

uint64_t NucleusGuess::Distribute(float head, float scale, const Weigher& weigher, size_t count,
                                  Pace* pace) {
  uint64_t* weights = weights_.Reserve(count);
  uint32_t* bins = bins_.Reserve(count);
  for (auto& table : tables_) table.fill(0);
  InPieces(pace, count, size_t{kListPiece}, [&](size_t begin, size_t end) {
    // Touch the bins before, so that no piece touches both arrays for the first time.
    TouchPaced(pace, end - begin, bins + begin);
    kernels_.For(DataType::kFloat32)
        .weigh(sample_.data(), static_cast<int64_t>(begin), static_cast<int64_t>(end), weigher,
               weights + begin);
    kernels_.bin(sample_.data() + begin, static_cast<int64_t>(end - begin), head, scale, kBins - 1,
                 bins + begin);
    for (size_t i = begin; i < end; ++i) {
      tables_[i % kTables][bins[i]] += sample_[i] < head ? weights[i] : 0;
    }
  });
  uint64_t total = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    mass_[bin] = 0;
    for (const auto& table : tables_) mass_[bin] += table[bin];
    total += mass_[bin];
  }
  return total;
}

void NucleusGuess::TakeHead(ScannedRow& row, const Weigher& weigher) {
  float head = std::max(row.ColumnQuantile(kHeadColumns), weigher.floor);
  // If many more columns reach it, tokens tie, and there may be any number of them: leave them out.
  if (row.ColumnsAtLeast(head) > 2 * kHeadColumns) head = std::nextafter(head, kInfinity);
  row.Collect({head, kInfinity}, head_);
  head_.Weigh(weigher, kernels_);
  head_value_ = head;
}

ValueRange NucleusGuess::Find(ScannedRow& row, const Weigher& weigher, double top_p) {
  TakeHead(row, weigher);
  const float head = head_value_;
  const auto head_mass = static_cast<double>(head_.TotalWeight());

  const size_t count = row.TakeSample(sample_);
  Ask(row.input().pace);
  if (count == 0) return {weigher.floor, kInfinity};
  const float low = std::max(weigher.floor, SmallestOfSample(count, row.input().pace));
  const float scale = static_cast<float>(kBins) / (head - low);
  if (!(scale > 0) || scale > std::numeric_limits<float>::max()) {
    return {weigher.floor, kInfinity};
  }
  const auto sampled =
      static_cast<double>(Distribute(head, scale, weigher, count, row.input().pace));
  const double ratio = static_cast<double>(row.input().vocab) / static_cast<double>(count);
  const double target = (top_p * (head_mass + ratio * sampled) - head_mass) / ratio;
  const auto edge = [&](uint32_t bin) { return head - static_cast<float>(bin) / scale; };

  // Sampling error in the bins before and after the target shifts the estimate. Bound it by its
  // standard deviation.
  double mass = 0;
  double variance = 0;
  for (uint32_t bin = 0; bin < kBins; ++bin) {
    const double share = mass < target ? 1 - top_p : top_p;
    const auto in_bin = static_cast<double>(mass_[bin]);
    mass += in_bin;
    variance += share * share * in_bin * static_cast<double>(weigher.WeightOf(edge(bin)));
  }
  const double margin = kDeviations * std::sqrt(variance);

  ValueRange range = {weigher.floor, target < margin ? kInfinity : head};
  mass = 0;
  for (uint32_t bin = 0; bin < kBins; ++bin) {
    // Edges are rounded, so make the range wider by a value: that does no harm.
    const float value = edge(bin);
    if (mass < target - margin) range.high = std::min(std::nextafter(value, kInfinity), range.high);
    if (mass > target + margin) {
      return {std::max(std::nextafter(value, low), weigher.floor), range.high};
    }
    mass += static_cast<double>(mass_[bin]);
  }
  return range;
}

}  // namespace token_sampler::cpu
