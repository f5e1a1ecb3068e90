#include "tests/conformance/random_params.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "sampler/params/stage_table.h"
#include "tests/testing/every_stage.h"

namespace token_sampler::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Makes ids, mostly low ones so that they coincide, but also others, including the last of the row.
std::vector<uint32_t> MakeIds(int64_t vocab, Random& random) {
  std::vector<uint32_t> ids(static_cast<size_t>(random.Below(12)));
  for (uint32_t& id : ids) {
    const int64_t low = random.Below(std::min<int64_t>(vocab, 9));
    const int64_t any = random.Below(vocab);
    const int64_t last = vocab - 1 - low;
    id = static_cast<uint32_t>(random.Of(std::array{low, low, low, any, last}));
  }
  return ids;
}

// Adds stages that carry state. They allow only one draw.
void AddStatefulStages(int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  params.num_samples = 1;
  if (random.OneIn(2)) {
    params.mirostat = Mirostat{.version = static_cast<uint32_t>(1 + random.Below(2)),
                               .tau = random.Of(std::array{0.5, 5.0}),
                               .eta = 0.1};
    if (random.OneIn(2)) row.state.mirostat_mu = 20 * random.Uniform() - 2;
  } else if (random.OneIn(2)) {
    params.adaptive_p = AdaptiveP{.target = random.Uniform(), .decay = 0.9};
    if (random.OneIn(2)) {
      row.state.adaptive_p_sum = random.Uniform();
      row.state.adaptive_p_weight = 1 + random.Uniform();
    }
  }
  if (random.OneIn(2)) {
    params.top_p_decay = TopPDecay{.decay = 0.9, .min = 0.1, .reset_ids = MakeIds(vocab, random)};
    if (random.OneIn(2)) row.state.top_p = random.Uniform();
  }
  if (random.OneIn(10)) row.state.top_p = 2.0;  // not accepted
  row.input.state = &row.state;
}

// Returns all stages, or all that are on, in any order; sometimes with the joint stage in place of
// its two.
StageOrder AnyOrder(const SamplingParams& params, Random& random) {
  std::vector<Stage> stages;
  const bool joint = random.OneIn(4);
  const bool all = random.OneIn(2);
  for (const Stage stage : joint ? kSglangOrder : kVllmOrder) {
    if (all || StageIsOn(params, stage)) stages.push_back(stage);
  }
  StageOrder order;
  while (!stages.empty()) {
    const int64_t next = random.Below(static_cast<int64_t>(stages.size()));
    order.Add(stages[static_cast<size_t>(next)]);
    stages.erase(stages.begin() + next);
  }
  return order;
}

// Adds ids beyond the row among the others.
void AddUnknownIds(int64_t vocab, Random& random, RandomRow& row) {
  for (std::vector<uint32_t>* ids : {&row.prompt_ids, &row.output_ids}) {
    for (int64_t count = 1 + random.Below(3); count > 0; --count) {
      const int64_t place = random.Below(static_cast<int64_t>(ids->size()) + 1);
      ids->insert(ids->begin() + place, static_cast<uint32_t>(vocab + random.Below(2)));
    }
  }
}

// Adds a history in order, or as a set and counts, which some parameters do not accept.
void AddHistory(int64_t vocab, Random& random, RandomRow& row) {
  row.prompt_ids = MakeIds(vocab, random);
  row.output_ids = MakeIds(vocab, random);
  const bool beyond = random.OneIn(20);
  if (random.OneIn(3)) {
    std::sort(row.output_ids.begin(), row.output_ids.end());
    row.output_ids.erase(std::unique(row.output_ids.begin(), row.output_ids.end()),
                         row.output_ids.end());
    for (size_t i = 0; i < row.output_ids.size(); ++i) {
      row.output_counts.push_back(static_cast<uint32_t>(1 + random.Below(1000)));
    }
    if (random.OneIn(2)) {
      row.history = {.prompt_ids = row.prompt_ids,
                     .output_count_ids = row.output_ids,
                     .output_counts = row.output_counts};
    } else {
      row.history = {.prompt_set = row.prompt_ids,
                     .output_count_ids = row.output_ids,
                     .output_counts = row.output_counts};
    }
  } else {
    if (beyond) AddUnknownIds(vocab, random, row);
    row.history = {.prompt_ids = row.prompt_ids,
                   .output_ids = row.output_ids,
                   .skip_unknown_ids = beyond && random.OneIn(2)};
  }
  row.input.history = &row.history;
}

}  // namespace

SamplingParams MakeParams(InputKind kind, int64_t vocab, Random& random) {
  SamplingParams params;
  if (kind == InputKind::kLogits) {
    params.temperature = random.Of(std::array{1.0, 1.0, 0.7, 1.3, 0.05, 1e-6, 1e6, 0.0});
    if (random.OneIn(4)) params.temperature = std::exp(6 * random.Uniform() - 3);
  } else {
    params.temperature = random.OneIn(6) ? 0.0 : 1.0;
  }
  const auto any = static_cast<uint32_t>(1 + random.Below(vocab));
  if (random.OneIn(2)) {
    params.top_k = random.Of(std::array{1u, 2u, 50u, any, static_cast<uint32_t>(vocab),
                                        static_cast<uint32_t>(vocab + 5)});
  }
  if (random.OneIn(2)) {
    params.top_p = random.Of(std::array{0.9, 0.5, 0.0, 0.999999, 1e-300, random.Uniform()});
  }
  if (random.OneIn(3)) {
    params.min_p = random.Of(std::array{0.05, 1.0, 1e-12, 1e-5, random.Uniform()});
  }
  params.replacement = random.OneIn(3);
  if (random.OneIn(3)) {
    params.num_samples = random.OneIn(6) ? static_cast<uint32_t>(vocab)
                                         : std::min(any, static_cast<uint32_t>(1 + any % 9));
  }
  return params;
}

void AddRareStages(InputKind kind, int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  if (random.OneIn(3)) params.top_k_ties = TiePolicy::kKeepAll;
  for (const StageSetting& setting : EveryStage()) {
    // MakeParams sets the most common ones, and AddStatefulStages those with a state.
    const bool is_common = setting.stage == Stage::kTemperature || setting.stage == Stage::kMinP ||
                           setting.stage == Stage::kTopK || setting.stage == Stage::kTopP ||
                           setting.stage == Stage::kTopKTopP;
    if (is_common || InfoOf(setting.stage).has_state != nullptr || !random.OneIn(3)) continue;
    SamplingParams alone;
    const auto which = random.Below(static_cast<int64_t>(setting.strengths.size()));
    const double strength = setting.strengths[static_cast<size_t>(which)];
    setting.set(strength, alone);
    if (ValidateParams(alone, kind, vocab, {}).ok()) setting.set(strength, params);
  }
  // Let the coin fall either way.
  if (params.xtc_probability == 1.0 && random.OneIn(2)) params.xtc_probability = 0.5;
  if (random.OneIn(3)) params.min_tokens_to_keep = static_cast<uint32_t>(1 + random.Below(5));
  if (random.OneIn(4)) params.greedy_threshold = random.Of(std::array{0.1, 0.5, 1.0});
  if (random.OneIn(4)) {
    params.invalid_values =
        random.Of(std::array{InvalidValuePolicy::kSanitize, InvalidValuePolicy::kSanitizeUniform});
  }
  if (kind == InputKind::kLogits) {
    if (random.OneIn(4)) {
      params.dynamic_temperature = DynamicTemperature{random.Of(std::array{0.0, 0.5, 1e6}), 1.5};
    }
    if (random.OneIn(4)) {
      params.temperature_schedule =
          TemperatureSchedule{random.OneIn(2) ? TemperatureSchedule::Kind::kLinear
                                              : TemperatureSchedule::Kind::kExponential,
                              2.0, 0.01, 10};
      row.input.key.step = static_cast<uint64_t>(random.Below(12));
    }
  }
  if (random.OneIn(3)) AddStatefulStages(vocab, random, row);
  params.stage_order =
      random.OneIn(3) ? AnyOrder(params, random)
                      : random.Of(std::array{kVllmOrder, kHfOrder, kLlamaCppOrder, kSglangOrder});
}

void AddAdjustments(InputKind kind, int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  if (random.OneIn(4)) params.allowed_ids = MakeIds(vocab, random);
  if (random.OneIn(3)) params.banned_ids = MakeIds(vocab, random);
  if (random.OneIn(4)) {
    params.bad_words = {{static_cast<uint32_t>(random.Below(vocab))},
                        {0, static_cast<uint32_t>(random.Below(vocab))}};
  }
  if (random.OneIn(4)) params.no_repeat_ngram_size = static_cast<uint32_t>(random.Below(4));
  if (kind == InputKind::kLogits) {
    if (random.OneIn(3)) {
      params.logit_bias = {{static_cast<uint32_t>(random.Below(vocab)),
                            random.Of(std::array{2.5f, -100.0f, 3e38f, -kInfinity})}};
    }
    if (random.OneIn(3)) params.repetition_penalty = random.Of(std::array{1.3, 0.5, 1e-6});
    if (random.OneIn(3)) params.frequency_penalty = random.Of(std::array{0.7, -2.0});
    if (random.OneIn(3)) params.presence_penalty = random.Of(std::array{0.3, -1.0});
    if (random.OneIn(4)) params.penalty_last_n = static_cast<int32_t>(random.Below(6)) - 1;
    if (random.OneIn(4)) {
      params.dry = {.multiplier = 0.8,
                    .base = random.Of(std::array{1.0, 1.75, 1e6}),
                    .allowed_length = static_cast<uint32_t>(1 + random.Below(3)),
                    .last_n = static_cast<int32_t>(random.Below(12)) - 1,
                    .breakers = {{0}, {0, static_cast<uint32_t>(random.Below(vocab))}}};
    }
  }
  if (random.OneIn(3)) {
    row.bitmask.resize(static_cast<size_t>((vocab + 31) / 32 * 4));
    for (uint8_t& byte : row.bitmask) byte = static_cast<uint8_t>(random.Bits());
    row.input.bitmask = row.bitmask.data();
  }
  if (random.OneIn(3)) {
    params.min_tokens = static_cast<uint32_t>(random.Below(4));
    params.stop_ids = MakeIds(vocab, random);
    row.input.key.step = static_cast<uint64_t>(random.Below(4));
  }
  AddHistory(vocab, random, row);
}

OutputOptions MakeOutputs(int64_t vocab, Random& random) {
  OutputOptions outputs;
  outputs.logprobs = random.OneIn(2);
  if (random.OneIn(2)) {
    outputs.top_logprobs = random.Of(
        std::array{1u, 5u, 20u, static_cast<uint32_t>(std::min<int64_t>(vocab + 1, 3000))});
  }
  outputs.logprob_mode = random.OneIn(2) ? LogprobMode::kRaw : LogprobMode::kProcessed;
  outputs.weights = random.OneIn(3);
  if (random.OneIn(6)) {
    outputs.ranks = vocab < 5000;  // the reference counts ranks token by token
    outputs.rank_mode = random.OneIn(2) ? RankMode::kGreater : RankMode::kGreaterEqual;
    outputs.kept_count = true;
    outputs.kept_set = random.OneIn(2);
    outputs.extremes = random.OneIn(2);
    outputs.entropy = random.OneIn(2);
    if (vocab < 2000 && random.OneIn(2)) outputs.gumbel_softmax = random.Of(std::array{0.1, 1.0});
  }
  return outputs;
}

}  // namespace token_sampler::testing
