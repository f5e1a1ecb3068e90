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

// True if the row is greedy and the stages before temperature cannot change which tokens are taken.
bool TakesFirstOfAll(const RowInput& row) {
  const SamplingParams& params = *row.params;
  if (params.dynamic_temperature.has_value() || TemperatureAt(params, row.key.step) != 0.0) {
    return false;
  }
  const bool one_token = params.num_samples == 1 || params.replacement;
  for (const Stage stage : params.stage_order) {
    if (stage == Stage::kTemperature) return true;
    if (StageIsOn(params, stage) && !(InfoOf(stage).keeps_first && one_token)) return false;
  }
  return false;
}

}  // namespace

void RowFilter::Begin(ScannedRow& row) {
  kept_ = {.row = &row, .last = {row.floor(), kLastId}};
  known_ = Known::kEnd;
  least_.reset();
  num_remade_ = 0;
  used_mirostat_ = false;
  before_adaptive_p_.reset();
  SetTemperature(1.0);
}

const Distribution& RowFilter::Run(ScannedRow& row) {
  Begin(row);
  const SamplingParams& params = *row.input().params;
  kept_.greedy = TakesFirstOfAll(row.input());
  const StageOrder& order = params.stage_order;
  for (const Stage* stage = order.begin(); stage != order.end() && !kept_.greedy; ++stage) {
    // Min-p and top-k keep prefixes of the same order, so they commute. If top-k is next, run it
    // first: its list is short.
    if (*stage == Stage::kMinP && StageIsOn(params, *stage) && stage + 1 != order.end() &&
        stage[1] == Stage::kTopK) {
      Act(Stage::kTopK);
    }
    Act(*stage);
    Ask(row.input().pace);
  }
  if (!kept_.greedy || used_mirostat_) Sum();
  return kept_;
}

void RowFilter::Act(Stage stage) {
  const SamplingParams& params = *kept_.row->input().params;
  const Cutoff before = kept_.last;
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
      KeepTopP(EffectiveTopP(kept_.row->input()));
      break;
    case Stage::kTopKTopP:
      // Keeps the shorter of two prefixes. Top-p acts first, because top-k must not change its
      // masses.
      KeepTopP(EffectiveTopP(kept_.row->input()));
      KeepLeast();
      if (params.top_k > 0) KeepTopK(CountOfTopK(params), params.top_k_ties);
      break;
    case Stage::kTypical:
      List();
      typical_.Keep(params, kept_.weigher, list_);
      Remake(kept_.row->input().kind);
      break;
    case Stage::kEpsilon:
      Sum();
      KeepWeight(CeilFraction(params.epsilon_cutoff, kept_.total));
      KeepLeastAndTies(before);
      break;
    case Stage::kEta:
      KeepEta(params.eta_cutoff);
      KeepLeastAndTies(before);
      break;
    case Stage::kTopNSigma:
      List();
      KeepListed(LeastOfSigmas(params.top_n_sigma, kept_.row->max(), list_));
      break;
    case Stage::kTopA: {
      Sum();
      const uint64_t first = kept_.weigher.WeightOf(kept_.row->max());
      const Uint128 least = Uint128{CeilFraction(params.top_a, first)} * first;
      // weight * total >= least, solved for the weight.
      KeepWeight(static_cast<uint64_t>((least + (kept_.total - 1)) / kept_.total));
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
  kept_.row->CollectFirst(count, first_);
  return count <= first_.count ? cutoffs_.FindByCount(first_, count)
                               : Cutoff{kept_.row->floor(), kLastId};
}

const Cutoff& RowFilter::EndOfLeast() {
  if (!least_.has_value()) least_ = EndOfFirst(kept_.row->input().params->min_tokens_to_keep);
  return *least_;
}

void RowFilter::KeepLeast() {
  const uint32_t count = kept_.row->input().params->min_tokens_to_keep;
  if (count == 1 && kept_.last.value <= kept_.row->max()) return;
  KeepUpTo(EndOfLeast());
}

void RowFilter::KeepLeastAndTies(const Cutoff& before) {
  if (kept_.row->input().params->top_k_ties != TiePolicy::kKeepAll) return;
  const Cutoff end = {EndOfLeast().value, kLastId};
  KeepUpTo(KeepsMore(end, before) ? before : end);
}

void RowFilter::KeepUpTo(const Cutoff& end) {
  if (!KeepsMore(end, kept_.last)) return;
  kept_.last = end;
  known_ = Known::kEnd;
  List();
}

void RowFilter::List() {
  if (Listed()) return;
  ListFrom(kept_.last.value);
  if (kept_.last.id != kLastId) list_.Retain(kept_.last, kernels_);
}

void RowFilter::ListFrom(float value) {
  kept_.row->Collect({value, kInfinity}, list_);
  list_.Weigh(kept_.weigher, kernels_);
  known_ = Known::kList;
}

void RowFilter::EndAt(float value) {
  if (value <= kept_.last.value) return;
  kept_.last = {value, kLastId};
  if (!Listed()) known_ = Known::kEnd;
}

void RowFilter::SetTemperature(double temperature) {
  kept_.temperature = temperature;
  kept_.weigher = kept_.row->MakeWeigher(temperature);
  if (Listed()) {
    list_.Weigh(kept_.weigher, kernels_);
  } else {
    known_ = Known::kEnd;
  }
}

void RowFilter::Sum() {
  if (known_ == Known::kBlockMass) return;
  if (Listed()) {
    kept_.total = list_.TotalWeight();
    return;
  }
  known_ = Known::kBlockMass;
  Weigher weigher = kept_.weigher;
  const bool ends_within_ties = kept_.last.id != kLastId;
  weigher.floor =
      std::max(weigher.floor, ends_within_ties ? NextAbove(kept_.last.value) : kept_.last.value);
  kept_.total = kept_.row->WeighBlocks(weigher, weigher.floor, block_mass_).all;
  if (!ends_within_ties) return;
  kept_.row->Collect({kept_.last.value, NextAbove(kept_.last.value)}, list_);
  list_.Weigh(kept_.weigher, kernels_);
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
    const bool with_ties = block_end <= kept_.last.id;
    uint64_t mass = kernels_.sum_at_least(
        list_.values.data() + begin, list_.weights.data() + begin, end - begin,
        with_ties ? kept_.last.value : NextAbove(kept_.last.value));
    for (; !with_ties && begin < end && ids[begin] <= kept_.last.id; ++begin) {
      if (list_.values[begin] == kept_.last.value) mass += list_.weights[begin];
    }
    if (block % 64 == 63) Ask(list_.pace);
    block_mass_[static_cast<size_t>(block)] += mass;
    kept_.total += mass;
    begin = end;
  }
}

void RowFilter::ActTemperature() {
  const RowInput& row = kept_.row->input();
  const SamplingParams& params = *row.params;
  double temperature = TemperatureAt(params, row.key.step);
  if (params.dynamic_temperature.has_value()) {
    SetTemperature(1.0);
    List();
    temperature = DynamicTemperatureAt(*params.dynamic_temperature, temperature, list_.count,
                                       Entropy(SumLog2Weights(list_, kept_.weigher),
                                               list_.TotalWeight(), FractionBits(row.vocab)));
  }
  kept_.greedy = temperature == 0.0;
  if (kept_.greedy) return;
  SetTemperature(temperature);
  if (!params.greedy_threshold.has_value()) return;
  Sum();
  kept_.greedy = kept_.weigher.WeightOf(kept_.row->max()) >=
                 CeilFraction(*params.greedy_threshold, kept_.total);
}

DrawnProbabilities RowFilter::ProbabilitiesOf(uint32_t token_id) {
  DrawnProbabilities drawn;
  if (used_mirostat_) drawn.kept = kept_.ProbabilityOf(token_id);
  if (before_adaptive_p_.has_value()) {
    drawn.before_adaptive_p = before_adaptive_p_->ProbabilityOf(token_id);
  }
  return drawn;
}

}  // namespace token_sampler::cpu
