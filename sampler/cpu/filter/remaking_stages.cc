// The stages of RowFilter that do not keep a prefix of the order, or that change values: XTC and
// adaptive-p. They make a new row of the survivors. Typical sampling is in typical_filter.

#include <algorithm>
#include <cstddef>
#include <limits>

#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/filter/list_sums.h"
#include "sampler/cpu/filter/row_filter.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cpu {

void RowFilter::Remake(InputKind kind) {
  kept_.row = &remade_[num_remade_++].Make(*kept_.row, kind, list_);
  kept_.last = {kept_.row->floor(), kLastId};
  least_.reset();
}

void RowFilter::RemoveTopChoices() {
  const SamplingParams& params = *kept_.row->input().params;
  if (!XtcActs(kept_.row->input())) return;
  List();
  // XTC keeps the last token that reaches the threshold: with at least 1, that token can be drawn.
  const uint64_t threshold =
      std::max<uint64_t>(CeilFraction(params.xtc_threshold, list_.TotalWeight()), 1);
  const float least = LeastOfWeight(threshold, list_);
  uint64_t last = std::numeric_limits<uint64_t>::max();  // the order key of the last choice
  size_t choices = 0;
  list_.ForEach([&](size_t i) {
    if (list_.values[i] < least) return;
    ++choices;
    last = std::min(last, list_.KeyOf(i));
  });
  if (choices < 2 || list_.count - (choices - 1) < params.min_tokens_to_keep) return;
  list_.RetainIf([&](size_t i) { return list_.KeyOf(i) <= last; });
  Remake(kept_.row->input().kind);
}

void RowFilter::ActAdaptiveP() {
  List();
  const uint64_t total = list_.TotalWeight();
  before_adaptive_p_ = kept_;
  before_adaptive_p_->total = total;
  const double target = AdaptivePTarget(kept_.row->input());
  list_.ForEach([&](size_t i) {
    list_.values[i] =
        AdaptivePLogit(static_cast<double>(list_.weights[i]) / static_cast<double>(total), target);
  });
  Remake(InputKind::kLogits);
  SetTemperature(1.0);
}

}  // namespace token_sampler::cpu
