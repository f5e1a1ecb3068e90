// The stages of RowFilter that depend on sums over all survivors, or on a fit to the first ones:
// eta, p-less, mirostat.

#include <algorithm>
#include <cstddef>
#include <functional>

#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/filter/list_sums.h"
#include "sampler/cpu/filter/row_filter.h"
#include "sampler/stages/log_weight.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cpu {

void RowFilter::KeepEta(double eta) {
  List();
  const uint64_t total = list_.TotalWeight();
  // p >= sqrt(eta) * exp(-entropy), in logarithms: that of the total weight is on both sides and
  // cancels.
  const double threshold =
      0.5 * Log(eta) + MeanLogWeight(SumLog2Weights(list_, kept_.weigher), total);
  KeepListed(std::min(LeastOfWeight(CeilFraction(eta, total), list_),
                      LeastOfLogWeight(threshold, list_, kept_.weigher)));
}

void RowFilter::KeepPLess() {
  List();
  const uint64_t total = list_.TotalWeight();
  // weight * total >= squares, solved for the weight.
  KeepWeight(static_cast<uint64_t>((SumSquares(list_) + (total - 1)) / total));
}

void RowFilter::KeepMirostat() {
  used_mirostat_ = true;
  const RowInput& row = kept_.row->input();
  const double mu = MirostatMu(row);
  if (row.params->mirostat->version == 2) {
    List();
    const double log_total = LogOfWeight(list_.TotalWeight(), FractionBits(row.vocab));
    KeepListed(LeastOfLogWeight(log_total - mu * kLn2, list_, kept_.weigher));
    return;
  }
  kept_.row->CollectFirst(kMirostatFitted, first_);
  first_.Retain(kept_.last, kernels_);
  uint64_t* keys = keys_.Reserve(first_.count);
  for (size_t i = 0; i < first_.count; ++i) keys[i] = first_.KeyOf(i);
  const size_t fitted = std::min(first_.count, kMirostatFitted);
  std::partial_sort(keys, keys + fitted, keys + first_.count, std::greater<>());
  fitted_.clear();
  for (size_t i = 0; i < fitted; ++i) {
    const float value = FromOrderedBits(static_cast<uint32_t>(keys[i] >> 32));
    fitted_.push_back({TokenOfOrderKey(keys[i]), value, kept_.weigher.WeightOf(value)});
  }
  const FirstSurvivors first = {fitted_, row.kind, FractionBits(row.vocab), kept_.temperature};
  KeepTopK(std::max<uint64_t>(Mirostat1Count(mu, row.vocab, first), 1), TiePolicy::kExactlyK);
}

}  // namespace token_sampler::cpu
