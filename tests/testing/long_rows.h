// Rows that take long, one of each kind: while they are sampled, their pace must be asked.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_LONG_ROWS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_LONG_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "sampler/sampler.h"
#include "tests/testing/every_stage.h"
#include "tests/testing/memory_source.h"

namespace token_sampler::testing {

// A row with all that it points to.
struct LongRow {
  std::string name = {};
  std::vector<float> values = {};
  std::vector<double> float64 = {};  // instead of values
  InputKind kind = InputKind::kLogits;
  bool from_source = false;
  SamplingParams params = {};
  OutputOptions outputs = {};
  std::vector<uint32_t> prompt = {};
  RowState state = {};
  std::vector<uint8_t> bitmask = {};

  // The input is valid while the row neither moves nor changes.
  RowInput Input(Pace* pace) {
    RowInput row;
    row.values = values.data();
    row.vocab = static_cast<int64_t>(values.size());
    if (!float64.empty()) {
      row.values = float64.data();
      row.vocab = static_cast<int64_t>(float64.size());
      row.dtype = DataType::kFloat64;
    }
    if (from_source) {
      source_ = std::make_unique<MemorySource>(row.values, 0);
      row = source_->Row(row);
    }
    history_.prompt_ids = prompt;
    row.kind = kind;
    row.params = &params;
    row.outputs = &outputs;
    row.key = {.seed = 5, .step = 1, .stream = 2};
    row.history = &history_;
    row.bitmask = bitmask.empty() ? nullptr : bitmask.data();
    row.pace = pace;
    return row;
  }

 private:
  std::unique_ptr<MemorySource> source_ = {};
  RowHistory history_ = {};
};

using LongRowVisitor = absl::FunctionRef<void(LongRow&)>;

// Makes one row at a time, because they are large.
class LongRowMaker {
 public:
  LongRowMaker(size_t vocab, uint32_t many, LongRowVisitor visit)
      : vocab_(vocab), many_(many), visit_(visit) {}

  void MakeAll(size_t history) {
    AddFilters();
    AddDraws();
    AddOutputs();
    AddAdjustments(history);
    AddValues();
    Finish();
  }

 private:
  static double Noise(size_t i) {
    uint64_t bits = (i + 1) * 0x9e3779b97f4a7c15u;
    bits ^= bits >> 29;
    bits *= 0xbf58476d1ce4e5b9u;
    bits ^= bits >> 32;
    return static_cast<double>(bits >> 11) * 0x1p-53;
  }

  // Visits the current row. Add() calls it first, when the row before is complete.
  void Finish() {
    if (row_ != nullptr) visit_(*row_);
    row_.reset();
  }

  LongRow& Add(std::string name, float spread = 0.5f) {
    Finish();
    row_ = std::make_unique<LongRow>();
    LongRow& row = *row_;
    row.name = std::move(name);
    row.values.resize(vocab_);
    for (size_t i = 0; i < vocab_; ++i) row.values[i] = spread * static_cast<float>(Noise(i));
    return row;
  }

  void AddFilters() {
    Add("plain");
    // Nearly equal values, of which the weakest setting keeps most.
    for (const StageSetting& setting : EveryStage()) {
      setting.set(setting.strengths.back(), Add(setting.name).params);
    }
    Add("top-k").params.top_k = many_;
    Add("top-k, all equal", 0).params.top_k = many_;
    Add("top-p").params.top_p = 0.9;
    Add("top-p, all equal", 0).params.top_p = 0.9;
    Add("typical").params.typical_p = 0.9;
    Add("typical, all equal", 0).params.typical_p = 0.5;
    LongRow& least = Add("typical, min_tokens_to_keep", 0);
    least.params.typical_p = 0.1;
    least.params.min_tokens_to_keep = many_;
    LongRow& xtc = Add("XTC");
    xtc.params.xtc_probability = 1;
    xtc.params.xtc_threshold = 0;
    Add("dynamic temperature").params.dynamic_temperature = DynamicTemperature{.range = 0.5};
    Add("mirostat 1").params.mirostat = Mirostat{.version = 1};
    Add("mirostat 2").params.mirostat = Mirostat{.version = 2, .tau = 20};
    Add("adaptive-p").params.adaptive_p = AdaptiveP{.target = 0.5};
  }

  void AddDraws() {
    LongRow& greedy = Add("the first, many");
    greedy.params.temperature = 0;
    greedy.params.num_samples = many_;
    LongRow& same = Add("the first, again and again");
    same.params.temperature = 0;
    same.params.num_samples = many_;
    same.params.replacement = true;
    Add("draws without replacement").params.num_samples = many_;
    LongRow& cold = Add("draws without replacement, cold");
    cold.params.num_samples = many_;
    cold.params.temperature = 1e-4;
    LongRow& replaced = Add("draws with replacement");
    replaced.params.num_samples = many_;
    replaced.params.replacement = true;
  }

  void AddOutputs() {
    Add("top log-probabilities").outputs.top_logprobs = many_;
    Add("kept set").outputs.kept_set = true;
    Add("entropy").outputs.entropy = true;
    LongRow& weights = Add("weights");
    weights.outputs.weights = true;
    weights.outputs.logprob_mode = LogprobMode::kProcessed;
    LongRow& few = Add("few ranks", 0);
    few.params.num_samples = 60;
    few.params.replacement = true;
    few.outputs.ranks = true;
    few.outputs.rank_mode = RankMode::kGreaterEqual;
    LongRow& ranks = Add("many ranks, all equal", 0);
    ranks.params.num_samples = many_;
    ranks.params.replacement = true;
    ranks.outputs.ranks = true;
    ranks.outputs.rank_mode = RankMode::kGreaterEqual;
    LongRow& logprobs = Add("many log-probabilities and ranks");
    logprobs.params.num_samples = many_;
    logprobs.outputs.logprobs = true;
    logprobs.outputs.ranks = true;
    Add("relaxed vector").outputs.gumbel_softmax = 0.5;
  }

  std::vector<uint32_t> Ids(size_t count) const {
    std::vector<uint32_t> ids(count);
    for (size_t i = 0; i < count; ++i) {
      ids[i] = static_cast<uint32_t>(Noise(i) * static_cast<double>(vocab_));
    }
    return ids;
  }

  void AddAdjustments(size_t history) {
    Add("banned").params.banned_ids = Ids(many_);
    Add("allowed").params.allowed_ids = Ids(many_);
    Add("bitmask").bitmask.assign((vocab_ + 31) / 32 * 4, 0x55);
    LongRow& bias = Add("biases");
    for (uint32_t id = 0; id < many_; ++id) bias.params.logit_bias.push_back({id, -0.25f});
    LongRow& words = Add("bad words");
    words.params.bad_words.assign(many_, {1, 2});
    words.prompt = {1};
    LongRow& penalties = Add("penalties");
    penalties.params.repetition_penalty = 1.2;
    penalties.params.frequency_penalty = 0.1;
    penalties.prompt = Ids(history);
    LongRow& ngrams = Add("n-grams");
    ngrams.params.no_repeat_ngram_size = 2;
    ngrams.prompt.assign(history, 3);
    LongRow& same = Add("DRY, one token");
    same.params.dry.multiplier = 1;
    same.prompt.assign(history, 3);
    LongRow& periodic = Add("DRY, a period");
    periodic.params.dry.multiplier = 1;
    periodic.prompt.resize(history);
    for (size_t i = 0; i < history; ++i) periodic.prompt[i] = static_cast<uint32_t>(i % 7);
    LongRow& breakers = Add("DRY, breakers that nearly match");
    breakers.params.dry.multiplier = 1;
    breakers.prompt.assign(history, 3);
    for (uint32_t i = 0; i < kMaxDryBreakers; ++i) {
      breakers.params.dry.breakers.emplace_back(kMaxDryBreakerTokens, 3).front() = 4 + i;
    }
  }

  void AddValues() {
    LongRow& repaired = Add("repaired");
    repaired.values[0] = std::numeric_limits<float>::quiet_NaN();
    repaired.params.invalid_values = InvalidValuePolicy::kSanitize;
    repaired.params.num_samples = many_ / 2;
    LongRow& invalid = Add("invalid at the end");
    invalid.values.back() = std::numeric_limits<float>::quiet_NaN();
    LongRow& scaled = Add("float64 weights beyond float32");
    scaled.kind = InputKind::kWeights;
    scaled.float64.assign(vocab_, 1e300);
    Add("from a source").from_source = true;
  }

  const size_t vocab_;
  const uint32_t many_;
  const LongRowVisitor visit_;
  std::unique_ptr<LongRow> row_;
};

// Visits rows of `vocab` tokens. `many`, at most `vocab`, is their number of draws and of listed
// tokens, and `history` the length of their histories.
inline void ForEachLongRow(size_t vocab, uint32_t many, size_t history, LongRowVisitor visit) {
  LongRowMaker(vocab, many, visit).MakeAll(history);
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_LONG_ROWS_H_
