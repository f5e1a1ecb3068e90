#include "sampler/stages/stage_math.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/stages/log_weight.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

constexpr double kSmallestTemperature = 1e-6;
constexpr double kLargestTemperature = 1e6;

const RowState kNewState;

const RowState& StateOf(const RowInput& row) {
  return row.state == nullptr ? kNewState : *row.state;
}

struct AdaptiveSums {
  double sum;
  double weight;
};

AdaptiveSums AdaptiveSumsOf(const RowInput& row) {
  const AdaptiveP& adaptive = *row.params->adaptive_p;
  const RowState& state = StateOf(row);
  return {state.adaptive_p_sum.value_or(adaptive.target / (1.0 - adaptive.decay)),
          state.adaptive_p_weight.value_or(1.0 / (1.0 - adaptive.decay))};
}

// Returns what is wrong with a field of the state; "" if nothing is. `used`: the field's stage is
// on.
absl::Status CheckField(absl::string_view name, const std::optional<double>& value,
                        const ParamRange& range, absl::string_view stage, bool is_on) {
  if (!value.has_value()) return absl::OkStatus();
  if (!is_on) {
    return absl::InvalidArgumentError(
        absl::StrCat("states.", name, " must not be set while ", stage, " is off"));
  }
  if (range.Contains(*value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("states.", name, " must be ", range.ToString(), ", got ", *value));
}

}  // namespace

double TemperatureAt(const SamplingParams& params, uint64_t step) {
  if (!params.temperature_schedule.has_value()) return params.temperature;
  const TemperatureSchedule& schedule = *params.temperature_schedule;
  if (step >= schedule.num_steps) {
    return schedule.end < kSmallestTemperature ? 0.0 : schedule.end;
  }
  const double share = static_cast<double>(step) / schedule.num_steps;
  const double temperature = schedule.kind == TemperatureSchedule::Kind::kLinear
                                 ? schedule.begin + (schedule.end - schedule.begin) * share
                                 : schedule.begin * Pow(schedule.end / schedule.begin, share);
  return temperature < kSmallestTemperature ? 0.0 : temperature;
}

double DynamicTemperatureAt(const DynamicTemperature& dynamic, double temperature, uint64_t count,
                            double entropy) {
  if (count < 2) return temperature;
  const double ratio = std::min(entropy / Log(static_cast<double>(count)), 1.0);
  double share = dynamic.exponent == 0.0 ? 1.0 : 0.0;
  if (ratio > 0.0) share = Pow(ratio, dynamic.exponent);
  const double low = std::max(temperature - dynamic.range, 0.0);
  const double high = temperature + dynamic.range;
  const double result = std::min(low + (high - low) * share, kLargestTemperature);
  return result < kSmallestTemperature ? 0.0 : result;
}

double EffectiveTopP(const RowInput& row) {
  if (!row.params->top_p_decay.has_value()) return row.params->top_p;
  return StateOf(row).top_p.value_or(row.params->top_p);
}

double MirostatMu(const RowInput& row) {
  return StateOf(row).mirostat_mu.value_or(2.0 * row.params->mirostat->tau);
}

// Returns the k at which the fitted law has the surprise mu: algorithm 1 of Basu et al. (2020),
// with the fit of their code.
uint64_t Mirostat1Count(double mu, int64_t vocab, const FirstSurvivors& first) {
  constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();
  const absl::Span<const Token> tokens = first.tokens;
  size_t fitted = 0;
  while (fitted < std::min(kMirostatFitted, tokens.size()) && tokens[fitted].weight > 0) ++fitted;
  if (fitted < 2) return 1;
  double products = 0.0;
  double squares = 0.0;
  for (size_t i = 0; i + 1 < fitted; ++i) {
    const double t = Log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    const double b =
        first.kind == InputKind::kLogits
            ? (double{tokens[i].value} - double{tokens[i + 1].value}) / first.temperature
            : LogOfWeight(tokens[i].weight, first.fraction_bits) -
                  LogOfWeight(tokens[i + 1].weight, first.fraction_bits);
    products += t * b;
    squares += t * t;
  }
  const double s = products / squares;
  if (!(s > 0.0)) return kAll;
  const double epsilon = s - 1.0;
  const double log_vocab = Log(static_cast<double>(vocab));
  const double ratio =
      std::abs(epsilon) < 1e-9 ? 1.0 / log_vocab : epsilon / (1.0 - Exp(-epsilon * log_vocab));
  const double k = Exp((Log(ratio) + mu * kLn2) / s);
  return k < 0x1p63 ? static_cast<uint64_t>(k) : kAll;
}

bool XtcActs(const RowInput& row) {
  constexpr uint64_t kCoinSides = uint64_t{1} << 62;
  const uint64_t coin = ScaleUniform(UniformBits(row.key, RandomDomain::kXtcCoin, 0), kCoinSides);
  return coin < CeilFraction(row.params->xtc_probability, kCoinSides);
}

double AdaptivePTarget(const RowInput& row) {
  const AdaptiveSums sums = AdaptiveSumsOf(row);
  return std::clamp(2.0 * row.params->adaptive_p->target - sums.sum / sums.weight, 0.0, 1.0);
}

// The constants are those of llama.cpp.
float AdaptivePLogit(double probability, double target) {
  const double distance = std::abs(probability - target) / 0.3;
  return static_cast<float>(5.0 - 10.0 * distance * distance / (1.0 + distance)) + 0.0f;
}

absl::Status CheckState(const RowInput& row) {
  if (row.state == nullptr) return absl::OkStatus();
  const RowState& state = StateOf(row);
  const SamplingParams& params = *row.params;
  const bool mirostat = params.mirostat.has_value();
  const bool adaptive = params.adaptive_p.has_value();
  const bool decay = params.top_p_decay.has_value();
  RETURN_IF_ERROR(
      CheckField("mirostat_mu", state.mirostat_mu, Closed(-1e6, 1e6), "mirostat", mirostat));
  RETURN_IF_ERROR(
      CheckField("adaptive_p_sum", state.adaptive_p_sum, Closed(0, 1e6), "adaptive_p", adaptive));
  RETURN_IF_ERROR(CheckField("adaptive_p_weight", state.adaptive_p_weight, Above(0, 1e6),
                             "adaptive_p", adaptive));
  return CheckField("top_p", state.top_p, Closed(0, 1), "top_p_decay", decay);
}

RowState NextState(const RowInput& row, const DrawnProbabilities& drawn, uint32_t token_id) {
  const SamplingParams& params = *row.params;
  RowState next;
  if (params.mirostat.has_value()) {
    const Mirostat& mirostat = *params.mirostat;
    double mu = MirostatMu(row);
    if (drawn.kept.has_value()) {
      const double surprise = -Log(*drawn.kept) / kLn2;
      mu = std::clamp(mu - mirostat.eta * (surprise - mirostat.tau), -1e6, 1e6);
    }
    next.mirostat_mu = mu;
  }
  if (params.adaptive_p.has_value()) {
    AdaptiveSums sums = AdaptiveSumsOf(row);
    if (drawn.before_adaptive_p.has_value()) {
      const double decay = params.adaptive_p->decay;
      sums.sum = *drawn.before_adaptive_p + decay * sums.sum;
      sums.weight = 1.0 + decay * sums.weight;
    }
    next.adaptive_p_sum = sums.sum;
    next.adaptive_p_weight = sums.weight;
  }
  if (params.top_p_decay.has_value()) {
    const TopPDecay& decay = *params.top_p_decay;
    const bool reset = std::find(decay.reset_ids.begin(), decay.reset_ids.end(), token_id) !=
                       decay.reset_ids.end();
    next.top_p = reset ? params.top_p : std::max(EffectiveTopP(row) * decay.decay, decay.min);
  }
  return next;
}

}  // namespace token_sampler
