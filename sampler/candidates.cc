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

// To which log_sum_exp is taken to be right.
constexpr double kLogSumExpError = 1e-4;

struct MassRange {
  double low = 0.0;
  double high = 0.0;
};

// The weights of what was left out, from those of the survivors, the least of which is the least
// candidate. `thinned`: a filter may have removed some of them.
MassRange LeftOutMass(const Survivors& survivors, const LeftOut& left_out, double count,
                      bool thinned) {
  const Token& least = survivors.tokens.back();
  // Weights are monotone but for their last bits.
  MassRange mass = {.low = 0.0,
                    .high = count * (static_cast<double>(least.weight) * (1.0 + 1e-6) + 1.0)};
  if (!left_out.log_sum_exp.has_value() || survivors.kind != InputKind::kLogits) return mass;
  // With s the sum of exp(x - m) and x at most the least candidate's b, the sum of
  // exp((x - m) / T) lies between s * exp((b - m) (1 / T - 1)) and n^(1 - 1 / T) * s^(1 / T), which
  // of the two is larger depending on T.
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

// The shortest prefix whose sum is at least `target`; one more than there are when none has.
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

// Walks through the stages of a row until the left-out tokens are known to be gone.
class Decision {
 public:
  Decision(const RowInput& row, const LeftOut& left_out, float least)
      : row_(row), left_out_(left_out), least_(least) {
    count_ = static_cast<double>(left_out.count.value_or(left_out.vocab - row.vocab));
  }

  // `stage` has acted, `staged` is what it left.
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

  // What every stage sees before the first one.
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

  // The nucleus is a prefix whose length depends on the whole row's mass, which is known within a
  // range. Where both of its ends give the same prefix, that is the nucleus.
  void ObserveNucleus(Stage stage) {
    const SamplingParams& params = *row_.params;
    if (params.top_p_decay) return Fail();
    const MassRange rest = LeftOutMass(before_, left_out_, count_, thinned_);
    const auto total = static_cast<double>(before_.TotalWeight());
    // Sums in double are right to far less than this.
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

  // Puts a top-k of `kept` where the nucleus was cut. False when the order has no place for it.
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
        // One before the nucleus kept every candidate; one behind it would be lost.
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
  const float least_;  // candidate's value
  double count_;
  bool thinned_ = false;
  Survivors before_ = {.tokens = {}, .kind = InputKind::kLogits, .fraction_bits = 0};
  State state_ = State::kOpen;
  std::optional<SamplingParams> changed_;
};

}  // namespace

CandidateDraw DecideCandidates(const RowInput& row, const LeftOut& left_out) {
  if (row.vocab == left_out.vocab) return {.exact = true};
  // Fixed-point weights and one fit of mirostat depend on the length of the row.
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
