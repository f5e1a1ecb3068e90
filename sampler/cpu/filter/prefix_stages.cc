// The stages of RowFilter that keep tokens up to a weight, a count or a mass: min-p, top-k, top-p.
// They read only as much of the row as they need to find the end.

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/filter/list_sums.h"
#include "sampler/cpu/filter/row_filter.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Making a list of fewer than 1 / kListShare of the row's tokens costs less than weighing the row.
constexpr uint64_t kListShare = 8;

}  // namespace

// ---- min-p ----

ValueRange RowFilter::MinPRange(uint64_t threshold) const {
  // The relative error of weights is below 2^-20, besides their rounding to an integer.
  constexpr double kMargin = 0x1p-20;
  const float floor = last_.value;
  const float max = row_->max();
  const float reference = weigher_.max;
  const auto value_of = [&](double weight, double direction) {
    if (weight <= 0) return -double{kInfinity};
    if (weigher_.plain) return weight / weigher_.plain_scale;
    const double octaves = std::log2(weight) - weigher_.scale.fraction_bits;
    const double difference = octaves / (double{weigher_.scale.high} + double{weigher_.scale.low});
    return double{reference} + difference +
           direction * kMargin * (std::abs(reference) - difference);
  };
  const auto exact = static_cast<double>(threshold);
  const double low = value_of((exact - 1) * (1 - kMargin), -1);
  const double high = value_of((exact + 1) * (1 + kMargin), 1);
  ValueRange range = {floor, max};
  if (low > double{floor}) range.low = std::min(static_cast<float>(low), max);
  if (high < double{max}) range.high = std::max(static_cast<float>(high), floor);
  return {std::max(std::nextafter(range.low, -kInfinity), floor),
          std::min(NextAbove(range.high), max)};
}

float RowFilter::MinPValue(uint64_t threshold) {
  // The prefix ends before the first token whose weight is too small. Ties have the same weight.
  const ValueRange range = MinPRange(threshold);
  row_->Collect(range, list_);
  list_.Weigh(weigher_, kernels_);
  float value = range.low;
  list_.ForEach([&](size_t i) {
    if (list_.weights[i] < threshold) value = std::max(value, NextAbove(list_.values[i]));
  });
  return value;
}

void RowFilter::KeepMinP(double min_p) {
  KeepWeight(CeilFraction(min_p, weigher_.WeightOf(row_->max())));
}

void RowFilter::KeepWeight(uint64_t threshold) {
  if (listed_) {
    KeepListed(LeastOfWeight(threshold, list_));
  } else if (threshold > weigher_.WeightOf(row_->max())) {
    EndAt(kInfinity);
  } else if (threshold > 0) {
    EndAt(MinPValue(threshold));
    if (row_->ColumnsAtLeast(last_.value) < row_->columns() / kListShare) List();
  }
}

void RowFilter::KeepListed(float value) {
  if (value <= last_.value) return;
  EndAt(value);
  list_.Retain(last_, kernels_);
}

// ---- top-k ----

void RowFilter::KeepTopK(uint64_t count, TiePolicy ties) {
  if (!listed_) {
    if (count >= static_cast<uint64_t>(row_->input().vocab)) return;
    row_->CollectFirst(count, list_);
    if (last_.value > row_->floor() || last_.id != kLastId) list_.Retain(last_, kernels_);
  }
  bool short_of_ties = false;
  if (count <= list_.count) {
    const Cutoff end = cutoffs_.FindByCount(list_, count);
    if (ties == TiePolicy::kKeepAll) {
      short_of_ties = !listed_;
      EndAt(end.value);
    } else {
      last_ = end;
    }
    list_.Retain(last_, kernels_);
  }
  if (short_of_ties) {
    List();
  } else if (!listed_) {
    list_.Weigh(weigher_, kernels_);
  }
  listed_ = true;
}

// ---- top-p ----

void RowFilter::KeepMass(uint64_t mass) {
  listed_ = true;
  last_ = cutoffs_.FindByMass(list_, mass);
  list_.Retain(last_, kernels_);
}

bool RowFilter::KeepTopPOfHead(double top_p, const Weigher& weigher) {
  // If the nucleus ends at the same token for the least and the most that the rest of the row can
  // weigh, its exact weight is not needed.
  const uint64_t least = guess_.head().TotalWeight();
  const double most = static_cast<double>(least) + row_->MassBound(weigher, guess_.head_value());
  if (most * top_p > static_cast<double>(least)) return false;
  const uint64_t least_mass = std::max<uint64_t>(CeilFraction(top_p, least), 1);
  const uint64_t most_mass = CeilFraction(top_p, static_cast<uint64_t>(most));
  // The nucleus exceeds its mass by less than the weight of its last token.
  if (least == 0 || most_mass - least_mass >= weigher.WeightOf(row_->max())) return false;
  const Cutoff last = cutoffs_.FindByMass(guess_.head(), least_mass);
  std::swap(list_, guess_.head());
  list_.Retain(last, kernels_);
  if (list_.TotalWeight() < most_mass) return false;
  last_ = last;
  listed_ = true;
  return true;
}

void RowFilter::KeepTopP(double top_p) {
  if (top_p >= 1.0) return;
  if (listed_) {
    KeepMass(std::max<uint64_t>(CeilFraction(top_p, list_.TotalWeight()), 1));
    return;
  }
  Weigher weigher = weigher_;
  weigher.floor = std::max(weigher.floor, last_.value);
  if (row_->ColumnsAtLeast(weigher.floor) < row_->columns() / kListShare) {
    ListFrom(weigher.floor);
    KeepMass(std::max<uint64_t>(CeilFraction(top_p, list_.TotalWeight()), 1));
    return;
  }
  const ValueRange guess = guess_.Find(*row_, weigher, top_p);
  const bool to_top = guess.high == kInfinity;
  if (to_top && KeepTopPOfHead(top_p, weigher)) return;
  const RowMass row_mass =
      row_->WeighBlocks(weigher, to_top ? weigher.floor : guess.high, block_mass_);
  const uint64_t mass = std::max<uint64_t>(CeilFraction(top_p, row_mass.all), 1);

  const uint64_t above = to_top ? 0 : row_mass.above;
  if (above >= mass) {
    ListFrom(guess.high);
    KeepMass(mass);
    return;
  }
  row_->Collect(guess, list_);
  list_.Weigh(weigher, kernels_);
  if (above + list_.TotalWeight() < mass) {
    row_->Collect({weigher.floor, guess.high}, list_);
    list_.Weigh(weigher, kernels_);
  }
  if (to_top) {
    KeepMass(mass);
    return;
  }
  last_ = cutoffs_.FindByMass(list_, mass - above);
  total_ = above;
  AddToBlocks();
  summed_ = true;
}

}  // namespace token_sampler::cpu
