#include "sampler/reference/stages.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/params/stage_table.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/stages/logit_spread.h"

namespace token_sampler {
namespace {

// ---- Filters that keep a prefix: they return its length ----

// Returns the length of the longest prefix in which keeps(token) is true for every token after the
// first `kept`.
template <class Keeps>
size_t PrefixWhile(const Survivors& survivors, const Keeps& keeps, size_t kept = 0) {
  const LargeVector<Token>& tokens = survivors.tokens;
  while (kept < tokens.size() && keeps(tokens[kept])) {
    if (++kept % kPieceItems == 0) Ask(survivors.pace);
  }
  return kept;
}

// The longest prefix of tokens with a weight of at least `threshold`.
size_t PrefixAtLeast(uint64_t threshold, const Survivors& survivors) {
  return PrefixWhile(survivors, [&](const Token& token) { return token.weight >= threshold; });
}

// The longest prefix of tokens with ln(weight / 2^F) >= `threshold`.
size_t PrefixOfLogAtLeast(double threshold, const Survivors& survivors) {
  return PrefixWhile(survivors, [&](const Token& token) {
    return token.weight != 0 && LogOfWeight(token.weight, survivors.fraction_bits) >= threshold;
  });
}

// The prefix of `count` tokens; with kKeepAll also the tokens whose value equals that of its last
// one.
size_t PrefixOfCount(size_t count, const SamplingParams& params, const Survivors& survivors) {
  const LargeVector<Token>& tokens = survivors.tokens;
  if (count >= tokens.size()) return tokens.size();
  if (params.top_k_ties == TiePolicy::kKeepAll) {
    const float last = tokens[count - 1].value;
    return PrefixWhile(
        survivors, [&](const Token& token) { return token.value == last; }, count);
  }
  return count;
}

size_t PrefixOfTopK(const SamplingParams& params, const Survivors& survivors) {
  if (params.top_k == 0) return survivors.tokens.size();
  return PrefixOfCount(std::max(params.top_k, params.min_tokens_to_keep), params, survivors);
}

size_t PrefixOfTopP(double top_p, const Survivors& survivors) {
  if (top_p >= 1.0) return survivors.tokens.size();
  const uint64_t threshold = CeilFraction(top_p, survivors.TotalWeight());
  uint64_t mass = 0;
  return PrefixWhile(survivors, [&](const Token& token) {
    if (mass >= threshold) return false;
    mass += token.weight;
    return true;
  });
}

size_t PrefixOfTopA(double top_a, const Survivors& survivors) {
  const uint64_t total = survivors.TotalWeight();
  const uint64_t first = survivors.tokens.front().weight;
  const Uint128 least = Uint128{CeilFraction(top_a, first)} * first;
  return PrefixWhile(survivors,
                     [&](const Token& token) { return Uint128{token.weight} * total >= least; });
}

size_t PrefixOfPLess(const Survivors& survivors) {
  const uint64_t total = survivors.TotalWeight();
  Uint128 squares = 0;
  ForEachPaced(survivors.pace, survivors.tokens.size(), [&](size_t i) {
    const uint64_t weight = survivors.tokens[i].weight;
    squares += Uint128{weight} * weight;
  });
  return PrefixWhile(survivors,
                     [&](const Token& token) { return Uint128{token.weight} * total >= squares; });
}

size_t PrefixOfEta(double eta, const Survivors& survivors) {
  const size_t by_eta = PrefixAtLeast(CeilFraction(eta, survivors.TotalWeight()), survivors);
  // p >= sqrt(eta) * exp(-entropy), in logarithms: that of the total weight is on both sides and
  // cancels.
  const double threshold = 0.5 * Log(eta) + MeanLogWeight(survivors);
  return std::max(by_eta, PrefixOfLogAtLeast(threshold, survivors));
}

size_t PrefixOfTopNSigma(double top_n_sigma, const Survivors& survivors) {
  const LargeVector<Token>& tokens = survivors.tokens;
  if (top_n_sigma == 0.0 || tokens.front().value == tokens.back().value) return tokens.size();
  LogitSpread spread(tokens.front().value, tokens.back().value);
  ForEachPaced(survivors.pace, tokens.size(), [&](size_t i) { spread.Add(tokens[i].value); });
  const double limit = top_n_sigma * spread.Sigma();
  return PrefixWhile(survivors,
                     [&](const Token& token) { return spread.Distance(token.value) <= limit; });
}

FirstSurvivors FirstOf(const Survivors& survivors) {
  return {survivors.tokens, survivors.kind, survivors.fraction_bits, survivors.temperature};
}

size_t PrefixOfMirostat(const RowInput& row, const Survivors& survivors) {
  const double mu = MirostatMu(row);
  if (row.params->mirostat->version == 1) {
    return static_cast<size_t>(std::min<uint64_t>(Mirostat1Count(mu, row.vocab, FirstOf(survivors)),
                                                  survivors.tokens.size()));
  }
  const double log_total = LogOfWeight(survivors.TotalWeight(), survivors.fraction_bits);
  return PrefixOfLogAtLeast(log_total - mu * kLn2, survivors);
}

// Returns how many of the first tokens XTC removes.
size_t TopChoices(const RowInput& row, const Survivors& survivors) {
  const SamplingParams& params = *row.params;
  if (!XtcActs(row)) return 0;
  // XTC keeps the last token that reaches the threshold: with at least 1, that token can be drawn.
  const uint64_t threshold =
      std::max<uint64_t>(CeilFraction(params.xtc_threshold, survivors.TotalWeight()), 1);
  const size_t choices = PrefixAtLeast(threshold, survivors);
  if (choices < 2 || survivors.tokens.size() - (choices - 1) < params.min_tokens_to_keep) return 0;
  return choices - 1;
}

// ---- Stages that do more than keep a prefix ----

void RemoveFirst(size_t count, Survivors& survivors) {
  if (count == 0) return;
  LargeVector<Token>& tokens = survivors.tokens;
  ForEachPaced(survivors.pace, tokens.size() - count,
               [&](size_t i) { tokens[i] = tokens[i + count]; });
  tokens.resize(tokens.size() - count);
}

// Keeps the tokens whose surprise is nearest to its mean, the entropy.
void KeepTypical(const SamplingParams& params, Survivors& survivors) {
  if (params.typical_p >= 1.0) return;
  struct Candidate {
    Uint128 distance;
    size_t position;
    uint64_t weight;
  };
  const uint64_t total = survivors.TotalWeight();
  const Int128 mean = SumLog2Weights(survivors);  // the mean, times total
  LargeVector<Candidate> candidates;
  candidates.reserve(survivors.tokens.size());
  ForEachPaced(survivors.pace, survivors.tokens.size(), [&](size_t i) {
    const Token& token = survivors.tokens[i];
    const Int128 difference = Int128{Log2Weight(token, survivors)} * total - mean;
    const auto distance = static_cast<Uint128>(difference < 0 ? -difference : difference);
    candidates.push_back({token.weight > 0 ? distance : ~Uint128{0}, i, token.weight});
  });
  SortPaced(survivors.pace, candidates, [](const Candidate& a, const Candidate& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.position < b.position;
  });
  const uint64_t threshold = CeilFraction(params.typical_p, total);
  size_t kept = 0;
  for (uint64_t mass = 0; mass < threshold; ++kept) {
    if (kept % kPieceItems == kPieceItems - 1) Ask(survivors.pace);
    mass += candidates[kept].weight;
  }
  if (params.top_k_ties == TiePolicy::kKeepAll) {
    const Uint128 last = candidates[kept - 1].distance;
    while (kept < candidates.size() && candidates[kept].distance == last) {
      if (++kept % kPieceItems == 0) Ask(survivors.pace);
    }
  }
  kept = std::min(std::max<size_t>(kept, params.min_tokens_to_keep), candidates.size());
  candidates.resize(kept);
  SortPaced(survivors.pace, candidates,
            [](const Candidate& a, const Candidate& b) { return a.position < b.position; });
  ForEachPaced(survivors.pace, kept,
               [&](size_t i) { survivors.tokens[i] = survivors.tokens[candidates[i].position]; });
  survivors.tokens.resize(kept);
}

void ApplyTemperature(const RowInput& row, StagedRow& staged) {
  const SamplingParams& params = *row.params;
  Survivors& survivors = staged.survivors;
  double temperature = TemperatureAt(params, row.key.step);
  if (params.dynamic_temperature.has_value()) {
    survivors.Weigh(1.0);
    temperature = DynamicTemperatureAt(*params.dynamic_temperature, temperature,
                                       survivors.tokens.size(), Entropy(survivors));
  }
  if (temperature == 0.0) {
    staged.greedy = true;
    return;
  }
  survivors.Weigh(temperature);
  if (!params.greedy_threshold.has_value()) return;
  const uint64_t threshold = CeilFraction(*params.greedy_threshold, survivors.TotalWeight());
  staged.greedy = survivors.tokens.front().weight >= threshold;
}

// Replaces the values by logits that depend on the distance of each probability from the target.
void ApplyAdaptiveP(const RowInput& row, StagedRow& staged) {
  Survivors& survivors = staged.survivors;
  staged.before_adaptive_p = CopyOf(survivors);
  const double target = AdaptivePTarget(row);
  const auto total = static_cast<double>(survivors.TotalWeight());
  ForEachPaced(survivors.pace, survivors.tokens.size(), [&](size_t i) {
    Token& token = survivors.tokens[i];
    token.value = AdaptivePLogit(static_cast<double>(token.weight) / total, target);
  });
  LargeVector<Token> scratch;
  SortByKey(
      survivors.pace, survivors.tokens.data(), survivors.tokens.size(),
      [](const Token& token) { return ~OrderKey(token.value, token.id); }, scratch);
  survivors.kind = InputKind::kLogits;
  survivors.Weigh(1.0);
}

double ProbabilityOf(uint32_t token_id, const Survivors& survivors) {
  const size_t place =
      PrefixWhile(survivors, [token_id](const Token& other) { return other.id != token_id; });
  return static_cast<double>(survivors.tokens[place].weight) /
         static_cast<double>(survivors.TotalWeight());
}

}  // namespace

void ApplyStage(const RowInput& row, Stage stage, StagedRow& staged) {
  const SamplingParams& params = *row.params;
  Survivors& survivors = staged.survivors;
  LargeVector<Token>& tokens = survivors.tokens;
  size_t kept = tokens.size();
  switch (stage) {
    case Stage::kTemperature:
      ApplyTemperature(row, staged);
      return;
    case Stage::kMinP:
      kept = PrefixAtLeast(CeilFraction(params.min_p, tokens.front().weight), survivors);
      break;
    case Stage::kTopK:
      kept = PrefixOfTopK(params, survivors);
      break;
    case Stage::kTopP:
      kept = PrefixOfTopP(EffectiveTopP(row), survivors);
      break;
    case Stage::kTopKTopP:
      kept = std::min(PrefixOfTopK(params, survivors), PrefixOfTopP(EffectiveTopP(row), survivors));
      break;
    case Stage::kTypical:
      KeepTypical(params, survivors);
      return;
    case Stage::kEpsilon:
      if (params.epsilon_cutoff == 0.0) return;
      kept = PrefixAtLeast(CeilFraction(params.epsilon_cutoff, survivors.TotalWeight()), survivors);
      kept = std::max(kept, PrefixOfCount(params.min_tokens_to_keep, params, survivors));
      break;
    case Stage::kEta:
      if (params.eta_cutoff == 0.0) return;
      kept = PrefixOfEta(params.eta_cutoff, survivors);
      kept = std::max(kept, PrefixOfCount(params.min_tokens_to_keep, params, survivors));
      break;
    case Stage::kTopNSigma:
      kept = PrefixOfTopNSigma(params.top_n_sigma, survivors);
      break;
    case Stage::kTopA:
      kept = PrefixOfTopA(params.top_a, survivors);
      break;
    case Stage::kPLess:
      if (params.p_less) kept = PrefixOfPLess(survivors);
      break;
    case Stage::kXtc:
      RemoveFirst(TopChoices(row, survivors), survivors);
      return;
    case Stage::kMirostat:
      if (!params.mirostat.has_value()) return;
      staged.used_mirostat = true;
      kept = PrefixOfMirostat(row, survivors);
      break;
    case Stage::kAdaptiveP:
      if (params.adaptive_p.has_value()) ApplyAdaptiveP(row, staged);
      return;
  }
  kept = std::max<size_t>(kept, params.min_tokens_to_keep);
  if (kept < tokens.size()) tokens.resize(kept);
}

DrawnProbabilities ProbabilitiesOf(uint32_t token_id, const StagedRow& staged) {
  DrawnProbabilities drawn;
  if (staged.used_mirostat) drawn.kept = ProbabilityOf(token_id, staged.survivors);
  if (staged.before_adaptive_p.has_value()) {
    drawn.before_adaptive_p = ProbabilityOf(token_id, *staged.before_adaptive_p);
  }
  return drawn;
}

}  // namespace token_sampler
