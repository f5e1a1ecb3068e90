#include "sampler/cpu/row_filter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampler/cpu/list_sums.h"
#include "sampler/paced.h"
#include "sampler/stage_table.h"
#include "sampler/stages.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kLastId = std::numeric_limits<uint32_t>::max();

// A list of fewer tokens than the row's divided by this costs less than weighing all of it.
constexpr uint64_t kListShare = 8;

float NextAbove(float value) { return std::nextafter(value, kInfinity); }

// Ties are those of the last token that must stay.
uint64_t CountOfTopK(const SamplingParams& params) {
  return std::max(params.top_k, params.min_tokens_to_keep);
}

// Whether a prefix that ends at `a` is longer than one that ends at `b`.
bool KeepsMore(const Cutoff& a, const Cutoff& b) {
  return a.value != b.value ? a.value < b.value : a.id > b.id;
}

}  // namespace

void RowFilter::Begin(ScannedRow& row) {
  row_ = &row;
  listed_ = false;
  greedy_ = false;
  used_mirostat_ = false;
  before_adaptive_p_.reset();
  num_remade_ = 0;
  least_.reset();
  last_ = {row.floor(), kLastId};
  SetTemperature(1.0);
}

void RowFilter::Run(ScannedRow& row) {
  Begin(row);
  const SamplingParams& params = *row.input().params;
  const StageOrder& order = params.stage_order;
  for (const Stage* stage = order.begin(); stage != order.end() && !greedy_; ++stage) {
    // Both keep the first tokens of one order. Where top-k is next, its short list comes first.
    if (*stage == Stage::kMinP && StageIsOn(params, *stage) && stage + 1 != order.end() &&
        stage[1] == Stage::kTopK) {
      Act(Stage::kTopK);
    }
    Act(*stage);
    Ask(row.input().pace);
  }
  if (!greedy_ || used_mirostat_) Sum();
}

void RowFilter::Act(Stage stage) {
  const SamplingParams& params = *row_->input().params;
  const Cutoff before = last_;
  if (stage == Stage::kTemperature) return ActTemperature();
  if (!StageIsOn(params, stage)) return;
  switch (stage) {
    case Stage::kTemperature:
      break;
    case Stage::kMinP:
      KeepMinP(params.min_p);
      break;
    case Stage::kTopK:
      KeepTopK(CountOfTopK(params), params.top_k_ties);
      break;
    case Stage::kTopP:
      KeepTopP(EffectiveTopP(row_->input()));
      break;
    case Stage::kTopKTopP:
      // The shorter of two prefixes, both of the same masses.
      KeepTopP(EffectiveTopP(row_->input()));
      KeepLeast();
      if (params.top_k > 0) KeepTopK(CountOfTopK(params), params.top_k_ties);
      break;
    case Stage::kTypical:
      List();
      typical_.Keep(params, weigher_, list_);
      Remake(row_->input().kind);
      break;
    case Stage::kEpsilon:
      Sum();
      KeepWeight(CeilFraction(params.epsilon_cutoff, total_));
      KeepLeastAndTies(before);
      break;
    case Stage::kEta:
      KeepEta(params.eta_cutoff);
      KeepLeastAndTies(before);
      break;
    case Stage::kTopNSigma:
      List();
      KeepListed(LeastOfSigmas(params.top_n_sigma, row_->max(), list_));
      break;
    case Stage::kPLess:
      KeepPLess();
      break;
    case Stage::kXtc:
      RemoveTopChoices();
      break;
    case Stage::kMirostat:
      KeepMirostat();
      break;
    case Stage::kAdaptiveP:
      ActAdaptiveP();
      break;
  }
  KeepLeast();
}

Cutoff RowFilter::EndOfFirst(uint64_t count) {
  row_->CollectFirst(count, first_);
  return count <= first_.count ? cutoffs_.FindByCount(first_, count)
                               : Cutoff{row_->floor(), kLastId};
}

const Cutoff& RowFilter::EndOfLeast() {
  if (!least_.has_value()) least_ = EndOfFirst(row_->input().params->min_tokens_to_keep);
  return *least_;
}

void RowFilter::KeepLeast() {
  const uint32_t count = row_->input().params->min_tokens_to_keep;
  if (count == 1 && last_.value <= row_->max()) return;
  KeepUpTo(EndOfLeast());
}

void RowFilter::KeepLeastAndTies(const Cutoff& before) {
  if (row_->input().params->top_k_ties != TiePolicy::kKeepAll) return;
  const Cutoff end = {EndOfLeast().value, kLastId};
  KeepUpTo(KeepsMore(end, before) ? before : end);
}

void RowFilter::KeepUpTo(const Cutoff& end) {
  if (!KeepsMore(end, last_)) return;
  last_ = end;
  listed_ = false;
  summed_ = false;
  List();
}

void RowFilter::List() {
  if (listed_) return;
  ListFrom(last_.value);
  if (last_.id != kLastId) list_.Retain(last_, kernels_);
}

void RowFilter::ListFrom(float value) {
  row_->Collect({value, kInfinity}, list_);
  list_.Weigh(weigher_, kernels_);
  listed_ = true;
}

void RowFilter::EndAt(float value) {
  if (value <= last_.value) return;
  last_ = {value, kLastId};
  summed_ = false;
}

void RowFilter::SetTemperature(double temperature) {
  temperature_ = temperature;
  weigher_ = row_->MakeWeigher(temperature);
  summed_ = false;
  if (listed_) list_.Weigh(weigher_, kernels_);
}

void RowFilter::Sum() {
  if (listed_) {
    total_ = list_.TotalWeight();
    return;
  }
  if (summed_) return;
  summed_ = true;
  Weigher weigher = weigher_;
  const bool ends_within_ties = last_.id != kLastId;
  weigher.floor = std::max(weigher.floor, ends_within_ties ? NextAbove(last_.value) : last_.value);
  total_ = row_->WeighBlocks(weigher, weigher.floor, block_mass_).all;
  if (!ends_within_ties) return;
  row_->Collect({last_.value, NextAbove(last_.value)}, list_);
  list_.Weigh(weigher_, kernels_);
  AddToBlocks();
}

void RowFilter::AddToBlocks() {
  const uint32_t* ids = list_.ids.data();
  size_t begin = 0;
  while (begin < list_.count) {
    const int64_t block = ids[begin] / kBlock;
    const int64_t block_end = (block + 1) * kBlock;
    const size_t most = std::min(list_.count, begin + static_cast<size_t>(kBlock));
    const auto end =
        static_cast<size_t>(std::lower_bound(ids + begin, ids + most, block_end) - ids);
    const bool with_ties = block_end <= last_.id;
    uint64_t mass =
        kernels_.sum_at_least(list_.values.data() + begin, list_.weights.data() + begin,
                              end - begin, with_ties ? last_.value : NextAbove(last_.value));
    for (; !with_ties && begin < end && ids[begin] <= last_.id; ++begin) {
      if (list_.values[begin] == last_.value) mass += list_.weights[begin];
    }
    if (block % 64 == 63) Ask(list_.pace);
    block_mass_[static_cast<size_t>(block)] += mass;
    total_ += mass;
    begin = end;
  }
}

// ---- min-p ----

ValueRange RowFilter::MinPRange(uint64_t threshold) const {
  // Weights are within 2^-20 of their exact values, beside rounding to an integer.
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
  // The prefix ends before the first token of too small a weight; ties have the same weight.
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
  // Should the nucleus end at the same token whatever the rest of the row weighs, that need not be
  // known.
  const uint64_t least = guess_.head().TotalWeight();
  const double most = static_cast<double>(least) + row_->MassBound(weigher, guess_.head_value());
  if (most * top_p > static_cast<double>(least)) return false;
  const uint64_t least_mass = std::max<uint64_t>(CeilFraction(top_p, least), 1);
  const uint64_t most_mass = CeilFraction(top_p, static_cast<uint64_t>(most));
  // The last token of the nucleus is all that goes beyond its mass.
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
