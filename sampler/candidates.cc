#include "sampler/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/params/stage_table.h"
#include "sampler/reference/pipeline.h"
#include "sampler/reference/stages.h"
#include "sampler/rows/row_values.h"

namespace token_sampler {
namespace {

// The assumed largest error of log_sum_exp.
constexpr double kLogSumExpError = 1e-4;

struct MassRange {
  double low = 0.0;
  double high = 0.0;
};

// Returns bounds of the sum of the left-out tokens' weights. The least survivor must be the least
// candidate. `count`: of left-out tokens that can be drawn, at most. `thinned`: a filter may have
// removed some of them.
MassRange LeftOutMass(const Survivors& survivors, const LeftOut& left_out, double count,
                      bool thinned) {
  const Token& least = survivors.tokens.back();
  // Weights are monotone except for their last bits.
  MassRange mass = {.low = 0.0,
                    .high = count * (static_cast<double>(least.weight) * (1.0 + 1e-6) + 1.0)};
  if (!left_out.log_sum_exp.has_value() || survivors.kind != InputKind::kLogits) return mass;
  // Let s be the sum of exp(x - m), and b, the value of the least candidate, at least every x.
  // Then the sum of exp((x - m) / T) is between s * exp((b - m) (1 / T - 1)) and
  // n^(1 - 1 / T) * s^(1 / T). T decides which of the two is the larger.
  const double inverse = 1.0 / survivors.temperature;
  const double log_sum = *left_out.log_sum_exp - static_cast<double>(survivors.reference);
  const double gap = static_cast<double>(least.value) - static_cast<double>(survivors.reference);
  const double by_least = log_sum + gap * (inverse - 1.0);
  const double by_count = (1.0 - inverse) * std::log(count) + inverse * log_sum;
  const double error = kLogSumExpError * std::max(inverse, 1.0);
  const double one = std::ldexp(1.0, survivors.fraction_bits);
  const double high = one * std::exp(std::max(by_least, by_count) + error) + count;
  mass.high = std::min(mass.high, high);
  if (thinned) return mass;
  mass.low = std::max(0.0, one * std::exp(std::min(by_least, by_count) - error) - count);
  return mass;
}

// Returns the length of the shortest prefix whose weights sum to at least `target`; the number of
// survivors plus 1 if there is none.
size_t PrefixOfMass(const Survivors& survivors, double target) {
  double sum = 0.0;
  size_t kept = 0;
  for (const Token& token : survivors.tokens) {
    sum += static_cast<double>(token.weight);
    ++kept;
    if (sum >= target) return kept;
  }
  return kept + 1;
}

// Follows a row through its stages until it is certain that no left-out token would remain.
class Decision {
 public:
  Decision(const RowInput& row, const LeftOut& left_out, float least)
      : row_(row), left_out_(left_out), least_(least) {
    count_ = static_cast<double>(left_out.count.value_or(left_out.vocab - row.vocab));
  }

  // Takes note of `staged`, the row after `stage`.
  void Observe(Stage stage, const StagedRow& staged) {
    const SamplingParams& params = *row_.params;
    if (state_ != State::kOpen || !StageIsOn(params, stage)) return;
    switch (stage) {
      case Stage::kTemperature:
        if (params.dynamic_temperature || params.greedy_threshold) return Fail();
        break;
      case Stage::kMinP:
        thinned_ = true;
        break;
      case Stage::kTopK:
        break;
      case Stage::kTopP:
      case Stage::kTopKTopP:
        return ObserveNucleus(stage);
      default:
        return Fail();
    }
    CloseIfAbove(staged.survivors, staged.greedy);
    before_ = staged.survivors;
  }

  // Takes note of the survivors before the first stage.
  void Begin(Survivors survivors) {
    CloseIfAbove(survivors, false);
    before_ = std::move(survivors);
  }

  CandidateDraw Take() && {
    return {.exact = state_ == State::kClosed, .params = std::move(changed_)};
  }

 private:
  enum class State : uint8_t { kOpen, kClosed, kFailed };

  void Fail() { state_ = State::kFailed; }

  void CloseIfAbove(const Survivors& survivors, bool greedy) {
    if (greedy) {
      const SamplingParams& params = *row_.params;
      const size_t taken = params.replacement ? 1 : params.num_samples;
      const bool decided =
          taken <= survivors.tokens.size() && survivors.tokens[taken - 1].value > least_;
      state_ = decided ? State::kClosed : State::kFailed;
    } else if (survivors.tokens.back().value > least_) {
      state_ = State::kClosed;
    }
  }

  // The nucleus is a prefix whose length depends on the whole row's mass, of which only a range is
  // known. If both ends of the range give the same prefix, that is the nucleus.
  void ObserveNucleus(Stage stage) {
    const SamplingParams& params = *row_.params;
    if (params.top_p_decay) return Fail();
    const MassRange rest = LeftOutMass(before_, left_out_, count_, thinned_);
    const auto total = static_cast<double>(before_.TotalWeight());
    // The relative error of sums in double is far smaller than this.
    constexpr double kRounding = 1e-9;
    size_t shortest =
        PrefixOfMass(before_, params.top_p * (total + rest.low) * (1.0 - kRounding) - 1.0);
    size_t longest =
        PrefixOfMass(before_, params.top_p * (total + rest.high) * (1.0 + kRounding) + 1.0);
    if (stage == Stage::kTopKTopP && params.top_k > 0) {
      shortest = std::min<size_t>(shortest, params.top_k);
      longest = std::min<size_t>(longest, params.top_k);
      if (params.top_k_ties == TiePolicy::kKeepAll) return Fail();
    }
    shortest = std::max<size_t>(shortest, params.min_tokens_to_keep);
    longest = std::max<size_t>(longest, params.min_tokens_to_keep);
    if (shortest != longest || longest > before_.tokens.size() ||
        !(before_.tokens[longest - 1].value > least_) || !ReplaceStage(stage, longest)) {
      return Fail();
    }
    state_ = State::kClosed;
  }

  // Replaces the stage that cut the nucleus by a top-k of `kept`. False if the order does not allow
  // that.
  bool ReplaceStage(Stage nucleus, size_t kept) {
    SamplingParams changed = *row_.params;
    if (changed.top_k_ties == TiePolicy::kKeepAll && changed.typical_p != 1.0) return false;
    bool passed = false;
    StageOrder order;
    for (const Stage stage : changed.stage_order) {
      if (stage == nucleus) {
        order.Add(Stage::kTopK);
        passed = true;
      } else if (stage == Stage::kTopK) {
        // A top-k before the nucleus kept every candidate, so it can go. One after it would be
        // lost.
        if (passed && changed.top_k != 0) return false;
      } else {
        order.Add(stage);
      }
    }
    changed.stage_order = order;
    changed.top_k = static_cast<uint32_t>(kept);
    changed.top_k_ties = TiePolicy::kExactlyK;
    changed.top_p = 1.0;
    changed_ = std::move(changed);
    return true;
  }

  const RowInput& row_;
  const LeftOut& left_out_;
  const float least_;  // the least candidate's value
  double count_;
  bool thinned_ = false;
  Survivors before_ = {.tokens = {}, .kind = InputKind::kLogits, .fraction_bits = 0};
  State state_ = State::kOpen;
  std::optional<SamplingParams> changed_;
};

}  // namespace

CandidateDraw DecideCandidates(const RowInput& row, const LeftOut& left_out) {
  if (row.vocab == left_out.vocab) return {.exact = true};
  // The scale of weights and the fit of mirostat 1 depend on the length of the row.
  const SamplingParams& params = *row.params;
  if (FractionBits(left_out.vocab) != FractionBits(row.vocab)) return {};
  if (params.mirostat.has_value() && params.mirostat->version == 1) return {};
  if (params.invalid_values != InvalidValuePolicy::kFail) return {};
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (left_out.count == 0u || left_out.log_sum_exp == -kInfinity) return {.exact = true};

  RowValues values;
  RowResult result;
  if (!PrepareValues(row, values, result)) return {};
  const float least = *std::min_element(values.adjusted.begin(), values.adjusted.end());
  Decision decision(row, left_out, least);
  decision.Begin(SortTokens(row.kind, values.adjusted));
  ProcessedRow processed;
  const auto observe = [&](Stage stage, const StagedRow& staged) {
    decision.Observe(stage, staged);
  };
  if (!ProcessRow(row, observe, processed, result)) return {};
  return std::move(decision).Take();
}

}  // namespace token_sampler
