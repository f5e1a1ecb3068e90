#include "sampler/cpu/filter/row_filter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/filter/list_sums.h"
#include "sampler/params/stage_table.h"
#include "sampler/rows/paced.h"
#include "sampler/stages/log_weight.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// With kKeepAll, ties are those of the last of these tokens.
uint64_t CountOfTopK(const SamplingParams& params) {
  return std::max(params.top_k, params.min_tokens_to_keep);
}

// True if a prefix that ends at `a` may be longer than one that ends at `b`.
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
    // Min-p and top-k keep prefixes of the same order, so they commute. If top-k is next, run it
    // first: its list is short.
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
      // Keeps the shorter of two prefixes. Top-p acts first, because top-k must not change its
      // masses.
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
    case Stage::kTopA: {
      Sum();
      const uint64_t first = weigher_.WeightOf(row_->max());
      const Uint128 least = Uint128{CeilFraction(params.top_a, first)} * first;
      // weight * total >= least, solved for the weight.
      KeepWeight(static_cast<uint64_t>((least + (total_ - 1)) / total_));
      break;
    }
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

void RowFilter::ActTemperature() {
  const RowInput& row = row_->input();
  const SamplingParams& params = *row.params;
  double temperature = TemperatureAt(params, row.key.step);
  if (params.dynamic_temperature.has_value()) {
    SetTemperature(1.0);
    List();
    temperature = DynamicTemperatureAt(
        *params.dynamic_temperature, temperature, list_.count,
        Entropy(SumLog2Weights(list_, weigher_), list_.TotalWeight(), FractionBits(row.vocab)));
  }
  greedy_ = temperature == 0.0;
  if (greedy_) return;
  SetTemperature(temperature);
  if (!params.greedy_threshold.has_value()) return;
  Sum();
  greedy_ = weigher_.WeightOf(row_->max()) >= CeilFraction(*params.greedy_threshold, total_);
}

double RowFilter::Weighed::ProbabilityOf(uint32_t token_id) const {
  return static_cast<double>(weigher.WeightOf(row->ValueOf(token_id))) / static_cast<double>(total);
}

DrawnProbabilities RowFilter::ProbabilitiesOf(uint32_t token_id) {
  DrawnProbabilities drawn;
  if (used_mirostat_) drawn.kept = Weighed{row_, weigher_, total_}.ProbabilityOf(token_id);
  if (before_adaptive_p_.has_value()) {
    drawn.before_adaptive_p = before_adaptive_p_->ProbabilityOf(token_id);
  }
  return drawn;
}

}  // namespace token_sampler::cpu
