#include "server/batching/work_estimate.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "sampler/params/stage_table.h"
#include "sampler/repetition/repetition_index.h"
#include "sampler/rows/adjustments.h"

namespace token_sampler {
namespace {

// Nanoseconds, from tests/bench/README.md and from calls made to be long.
constexpr double kRow = 1500;            // its place in a batch, and its share of an answer
constexpr double kScan = 0.1;            // per token: values read once, as top-k does
constexpr double kWeigh = 0.5;           // per token: weights summed once
constexpr double kNucleus = 1.8;         // per token: top-p on equal values
constexpr double kList = 6;              // per token: survivors listed and summed, as eta does
constexpr double kListTwice = 12;        // per token: typical sampling, XTC, p-less on flat rows
constexpr double kSort = 270;            // per token: the general pipeline
constexpr double kDescribedStage = 120;  // per token and view
constexpr double kDraw = 100;        // per draw, twice that and more if the tree exceeds the caches
constexpr double kDrawLevel = 30;    // per draw and level of the tree
constexpr double kRank = 0.35;       // per draw and token
constexpr double kLogprob = 30;      // per draw
constexpr double kTop = 40;          // per token of top_logprobs, sorted
constexpr double kKept = 8;          // per token of a kept set
constexpr double kRelaxed = 60;      // per draw and token of relaxed vectors
constexpr double kHistory = 6;       // per token: counted for penalties
constexpr double kRepetition = 30;   // per token: n-grams
constexpr double kDry = 300;         // per token: DRY, which sorts
constexpr double kBreaker = 2;       // per token and breaker
constexpr double kAgree = 1;         // per token of the history, where an index finds repetitions
constexpr double kListed = 5;        // per token banned, allowed, stopped at or biased
constexpr double kBadWord = 10;      // per word, and
constexpr double kBadWordToken = 2;  // per token of a word

uint64_t Bounded(double work) {
  return work < static_cast<double>(WorkEstimator::kMaxWork) ? static_cast<uint64_t>(work)
                                                             : WorkEstimator::kMaxWork;
}

double Size(size_t size) { return static_cast<double>(size); }

// The work per token of a stage that is on.
double OfStage(StageFamily family, const SamplingParams& params) {
  switch (family) {
    case StageFamily::kTemperature:
      return (params.greedy_threshold.has_value() ? kWeigh : 0) +
             (params.dynamic_temperature.has_value() ? kList : 0);
    case StageFamily::kCount:
      return 0;
    case StageFamily::kMass:
      return kNucleus;
    case StageFamily::kWeight:
      return kWeigh;
    case StageFamily::kList:
      return kList;
    case StageFamily::kListTwice:
      return kListTwice;
  }
  return 0;
}

// The work per token of the stages that are on.
double OfStages(const SamplingParams& params) {
  double work = kWeigh;
  for (const Stage stage : params.stage_order) {
    if (StageIsOn(params, stage)) work += OfStage(InfoOf(stage).family, params);
  }
  return work;
}

// The work of n-grams and DRY in a history with an index.
double OfRepetitions(const SamplingParams& params, const RowHistory& history) {
  const HistoryIds ids(history.prompt_ids, history.output_ids);
  const double alike = Size(history.index->CountAlike(ids));
  double work = params.no_repeat_ngram_size == 1 ? kHistory * Size(ids.size()) : 0;
  if (alike == 0) return work;
  const double longest = kAgree * Size(ids.size());
  if (params.no_repeat_ngram_size > 1) work += longest + kRepetition * alike;
  if (params.dry.multiplier > 0.0) work += longest + kDry * alike;
  return work;
}

double OfHistory(const SamplingParams& params, const RowHistory& history) {
  const double counted = Size(history.prompt_set.size() + history.output_count_ids.size());
  const double ordered = Size(history.prompt_ids.size() + history.output_ids.size());
  double work = 0;
  const bool by_counts = history.index != nullptr && CountsBesideIndex(params);
  if (params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
      params.presence_penalty != 0.0) {
    work += kHistory * (counted + (by_counts ? 0 : ordered));
  }
  if (history.index != nullptr) return work + OfRepetitions(params, history);
  if (params.no_repeat_ngram_size > 0) work += kRepetition * ordered;
  if (params.dry.multiplier > 0.0) {
    const double searched =
        params.dry.last_n < 0 ? ordered : std::min(ordered, static_cast<double>(params.dry.last_n));
    work += kHistory * ordered + kDry * searched;
    work += kBreaker * searched * Size(params.dry.breakers.size());
  }
  return work;
}

double OfDraws(const RowInput& row) {
  const SamplingParams& params = *row.params;
  if (params.num_samples == 1) return 0;
  const double tokens = static_cast<double>(row.vocab);
  return kList * tokens + params.num_samples * (kDraw + kDrawLevel * std::log2(tokens));
}

double OfOutputs(const RowInput& row) {
  if (row.outputs == nullptr) return 0;
  const OutputOptions& outputs = *row.outputs;
  const double tokens = static_cast<double>(row.vocab);
  const double draws = row.params->num_samples;
  double work = 0;
  if (outputs.logprobs) work += kWeigh * tokens + kLogprob * draws;
  if (outputs.top_logprobs > 0) {
    const double top = std::min(tokens, static_cast<double>(outputs.top_logprobs));
    work += kWeigh * tokens + kTop * top;
  }
  if (outputs.ranks) work += kRank * tokens * draws;
  if (outputs.kept_count) work += kWeigh * tokens;
  if (outputs.kept_set || outputs.weights) work += kKept * tokens;
  if (outputs.extremes || outputs.entropy) work += kList * tokens;
  if (outputs.gumbel_softmax > 0.0) work += tokens * (kSort + kRelaxed * draws);
  return work;
}

}  // namespace

double WorkEstimator::OfBadWords(const SamplingParams& params) {
  if (params.bad_words.empty()) return 0;
  const auto [found, is_new] = bad_words_.try_emplace(&params, 0.0);
  if (is_new) {
    for (const std::vector<uint32_t>& word : params.bad_words) {
      found->second += kBadWord + kBadWordToken * Size(word.size());
    }
  }
  return found->second;
}

uint64_t WorkEstimator::OfRow(const RowInput& row) {
  const SamplingParams& params = *row.params;
  const double tokens = static_cast<double>(row.vocab);
  if (stages_of_ != &params) {
    stages_of_ = &params;
    stages_ = OfStages(params);
  }
  double work = kRow + tokens * (kScan + stages_) + OfDraws(row) + OfOutputs(row);
  if (row.bitmask != nullptr) work += kWeigh * tokens;
  work += kListed * Size(params.allowed_ids.size() + params.banned_ids.size() +
                         params.stop_ids.size() + params.logit_bias.size());
  if (row.history != nullptr) work += OfHistory(params, *row.history);
  return Bounded(work + OfBadWords(params));
}

uint64_t WorkEstimator::OfRepairedRow(const RowInput& row) {
  if (row.params->invalid_values == InvalidValuePolicy::kFail) return OfRow(row);
  return Bounded(static_cast<double>(OfRow(row)) + kSort * static_cast<double>(row.vocab));
}

uint64_t WorkEstimator::OfDescription(const RowInput& row) {
  double views = 2;
  for (const Stage stage : row.params->stage_order) views += StageIsOn(*row.params, stage) ? 1 : 0;
  const double tokens = static_cast<double>(row.vocab);
  return Bounded(static_cast<double>(OfRow(row)) + tokens * (kSort + kDescribedStage * views));
}

uint64_t WorkEstimator::OfDraft(const DraftInput& draft) {
  // Each row is sampled with the same parameters, and with a history that grows by the draft.
  RowInput row = draft.target[0];
  row.params = draft.params;
  row.history = draft.history;
  const OutputOptions outputs = {.weights = !draft.draft.empty()};
  row.outputs = &outputs;
  const double rows = Size(draft.target.size() + draft.draft.size());
  const double tokens = Size(draft.token_ids.size());
  const RowHistory grown = {.output_ids = draft.token_ids};
  return Bounded(rows *
                     (static_cast<double>(OfRepairedRow(row)) + OfHistory(*draft.params, grown)) +
                 kHistory * tokens);
}

uint64_t MostValues(const RowInput& row) {
  if (row.outputs == nullptr) return row.params->num_samples;
  return MostValues(*row.outputs, SizeOf(row));
}

}  // namespace token_sampler
