// The rarer stages of RowFilter: those that need sums over all survivors, or keep no prefix.

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>

#include "sampler/cpu/list_sums.h"
#include "sampler/cpu/row_filter.h"
#include "sampler/elementary.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler::cpu {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr uint32_t kLastId = std::numeric_limits<uint32_t>::max();

}  // namespace

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

void RowFilter::Remake(InputKind kind) {
  row_ = &remade_[num_remade_++].Make(*row_, kind, list_);
  last_ = {row_->floor(), kLastId};
  least_.reset();
  summed_ = false;
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

void RowFilter::KeepEta(double eta) {
  List();
  const uint64_t total = list_.TotalWeight();
  // p >= sqrt(eta) * exp(-entropy), by logarithms, from which that of the sum falls out.
  const double threshold = 0.5 * Log(eta) + MeanLogWeight(SumLog2Weights(list_, weigher_), total);
  KeepListed(std::min(LeastOfWeight(CeilFraction(eta, total), list_),
                      LeastOfLogWeight(threshold, list_, weigher_)));
}

void RowFilter::KeepPLess() {
  List();
  const uint64_t total = list_.TotalWeight();
  // weight * total >= squares, divided by the total.
  KeepWeight(static_cast<uint64_t>((SumSquares(list_) + (total - 1)) / total));
}

void RowFilter::KeepMirostat() {
  used_mirostat_ = true;
  const RowInput& row = row_->input();
  const double mu = MirostatMu(row);
  if (row.params->mirostat->version == 2) {
    List();
    const double log_total = LogOfWeight(list_.TotalWeight(), FractionBits(row.vocab));
    KeepListed(LeastOfLogWeight(log_total - mu * kLn2, list_, weigher_));
    return;
  }
  row_->CollectFirst(kMirostatFitted, first_);
  first_.Retain(last_, kernels_);
  uint64_t* keys = keys_.Reserve(first_.count);
  for (size_t i = 0; i < first_.count; ++i) keys[i] = first_.KeyOf(i);
  const size_t fitted = std::min(first_.count, kMirostatFitted);
  std::partial_sort(keys, keys + fitted, keys + first_.count, std::greater<>());
  fitted_.kind = row.kind;
  fitted_.fraction_bits = FractionBits(row.vocab);
  fitted_.temperature = temperature_;
  fitted_.reference = weigher_.max;
  fitted_.tokens.clear();
  for (size_t i = 0; i < fitted; ++i) {
    const float value = FromOrderedBits(static_cast<uint32_t>(keys[i] >> 32));
    fitted_.tokens.push_back({TokenOfOrderKey(keys[i]), value, weigher_.WeightOf(value)});
  }
  KeepTopK(std::max<uint64_t>(Mirostat1Count(mu, row.vocab, fitted_), 1), TiePolicy::kExactlyK);
}

void RowFilter::RemoveTopChoices() {
  const SamplingParams& params = *row_->input().params;
  if (!XtcActs(row_->input())) return;
  List();
  // One of them stays, and must be one that can be drawn.
  const uint64_t threshold =
      std::max<uint64_t>(CeilFraction(params.xtc_threshold, list_.TotalWeight()), 1);
  const float least = LeastOfWeight(threshold, list_);
  uint64_t last = std::numeric_limits<uint64_t>::max();  // key of the last choice
  size_t choices = 0;
  list_.ForEach([&](size_t i) {
    if (list_.values[i] < least) return;
    ++choices;
    last = std::min(last, list_.KeyOf(i));
  });
  if (choices < 2 || list_.count - (choices - 1) < params.min_tokens_to_keep) return;
  list_.RetainIf([&](size_t i) { return list_.KeyOf(i) <= last; });
  Remake(row_->input().kind);
}

void RowFilter::ActAdaptiveP() {
  List();
  const uint64_t total = list_.TotalWeight();
  before_adaptive_p_ = {row_, weigher_, total};
  const double target = AdaptivePTarget(row_->input());
  list_.ForEach([&](size_t i) {
    list_.values[i] =
        AdaptivePLogit(static_cast<double>(list_.weights[i]) / static_cast<double>(total), target);
  });
  Remake(InputKind::kLogits);
  SetTemperature(1.0);
}

}  // namespace token_sampler::cpu
