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
  const float floor = kept_.last.value;
  const float max = kept_.row->max();
  const float reference = kept_.weigher.max;
  const auto value_of = [&](double weight, double direction) {
    if (weight <= 0) return -double{kInfinity};
    if (kept_.weigher.plain) return weight / kept_.weigher.plain_scale;
    const double octaves = std::log2(weight) - kept_.weigher.scale.fraction_bits;
    const double difference =
        octaves / (double{kept_.weigher.scale.high} + double{kept_.weigher.scale.low});
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
  kept_.row->Collect(range, list_);
  list_.Weigh(kept_.weigher, kernels_);
  float value = range.low;
  list_.ForEach([&](size_t i) {
    if (list_.weights[i] < threshold) value = std::max(value, NextAbove(list_.values[i]));
  });
  return value;
}

void RowFilter::KeepMinP(double min_p) {
  KeepWeight(CeilFraction(min_p, kept_.weigher.WeightOf(kept_.row->max())));
}

void RowFilter::KeepWeight(uint64_t threshold) {
  if (Listed()) {
    KeepListed(LeastOfWeight(threshold, list_));
  } else if (threshold > kept_.weigher.WeightOf(kept_.row->max())) {
    EndAt(kInfinity);
  } else if (threshold > 0) {
    EndAt(MinPValue(threshold));
    if (kept_.row->ColumnsAtLeast(kept_.last.value) < kept_.row->columns() / kListShare) List();
  }
}

void RowFilter::KeepListed(float value) {
  if (value <= kept_.last.value) return;
  EndAt(value);
  list_.Retain(kept_.last, kernels_);
}

// ---- top-k ----

void RowFilter::KeepTopK(uint64_t count, TiePolicy ties) {
  if (!Listed()) {
    if (count >= static_cast<uint64_t>(kept_.row->input().vocab)) return;
    kept_.row->CollectFirst(count, list_);
    if (kept_.last.value > kept_.row->floor() || kept_.last.id != kLastId)
      list_.Retain(kept_.last, kernels_);
  }
  bool short_of_ties = false;
  if (count <= list_.count) {
    const Cutoff end = cutoffs_.FindByCount(list_, count);
    if (ties == TiePolicy::kKeepAll) {
      short_of_ties = !Listed();
      EndAt(end.value);
    } else {
      kept_.last = end;
    }
    list_.Retain(kept_.last, kernels_);
  }
  if (short_of_ties) {
    List();
  } else if (!Listed()) {
    list_.Weigh(kept_.weigher, kernels_);
  }
  known_ = Known::kList;
}

// ---- top-p ----

void RowFilter::KeepMass(uint64_t mass) {
  known_ = Known::kList;
  kept_.last = cutoffs_.FindByMass(list_, mass);
  list_.Retain(kept_.last, kernels_);
}

bool RowFilter::KeepTopPOfHead(double top_p, const Weigher& weigher) {
  // If the nucleus ends at the same token for the least and the most that the rest of the row can
  // weigh, its exact weight is not needed.
  const uint64_t least = guess_.head().TotalWeight();
  const double most =
      static_cast<double>(least) + kept_.row->MassBound(weigher, guess_.head_value());
  if (most * top_p > static_cast<double>(least)) return false;
  const uint64_t least_mass = std::max<uint64_t>(CeilFraction(top_p, least), 1);
  const uint64_t most_mass = CeilFraction(top_p, static_cast<uint64_t>(most));
  // The nucleus exceeds its mass by less than the weight of its last token.
  if (least == 0 || most_mass - least_mass >= weigher.WeightOf(kept_.row->max())) return false;
  const Cutoff last = cutoffs_.FindByMass(guess_.head(), least_mass);
  std::swap(list_, guess_.head());
  list_.Retain(last, kernels_);
  if (list_.TotalWeight() < most_mass) return false;
  kept_.last = last;
  known_ = Known::kList;
  return true;
}

void RowFilter::KeepTopP(double top_p) {
  if (top_p >= 1.0) return;
  if (Listed()) {
    KeepMass(std::max<uint64_t>(CeilFraction(top_p, list_.TotalWeight()), 1));
    return;
  }
  Weigher weigher = kept_.weigher;
  weigher.floor = std::max(weigher.floor, kept_.last.value);
  if (kept_.row->ColumnsAtLeast(weigher.floor) < kept_.row->columns() / kListShare) {
    ListFrom(weigher.floor);
    KeepMass(std::max<uint64_t>(CeilFraction(top_p, list_.TotalWeight()), 1));
    return;
  }
  const ValueRange guess = guess_.Find(*kept_.row, weigher, top_p);
  const bool to_top = guess.high == kInfinity;
  if (to_top && KeepTopPOfHead(top_p, weigher)) return;
  const RowMass row_mass =
      kept_.row->WeighBlocks(weigher, to_top ? weigher.floor : guess.high, block_mass_);
  const uint64_t mass = std::max<uint64_t>(CeilFraction(top_p, row_mass.all), 1);

  const uint64_t above = to_top ? 0 : row_mass.above;
  if (above >= mass) {
    ListFrom(guess.high);
    KeepMass(mass);
    return;
  }
  kept_.row->Collect(guess, list_);
  list_.Weigh(weigher, kernels_);
  if (above + list_.TotalWeight() < mass) {
    kept_.row->Collect({weigher.floor, guess.high}, list_);
    list_.Weigh(weigher, kernels_);
  }
  if (to_top) {
    KeepMass(mass);
    return;
  }
  kept_.last = cutoffs_.FindByMass(list_, mass - above);
  kept_.total = above;
  AddToBlocks();
  known_ = Known::kBlockMass;
}

}  // namespace token_sampler::cpu
