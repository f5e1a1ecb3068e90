#include "tests/conformance/path_rows.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "sampler/params/stage_table.h"

namespace token_sampler::testing {
namespace {

constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16,
                               DataType::kFloat64};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

using Values = std::function<double(int64_t)>;

// Returns numbers below 1 that repeat only after very many tokens.
double Scattered(int64_t token) {
  return static_cast<double>(static_cast<uint32_t>(token) * 2654435761u) * 0x1p-32;
}

RandomRow& AddRow(InputKind kind, DataType dtype, int64_t vocab, const Values& value,
                  const SamplingParams& params, RandomBatch& batch) {
  RandomRow& row = *batch.rows.emplace_back(std::make_unique<RandomRow>());
  for (int64_t token = 0; token < vocab; ++token) AppendElement(value(token), dtype, row.storage);
  row.params = params;
  row.input.values = row.storage.data();
  row.input.dtype = dtype;
  row.input.kind = kind;
  row.input.vocab = vocab;
  row.input.params = &row.params;
  row.input.key = {.seed = batch.rows.size(), .step = 3, .stream = 5};
  row.description = std::string(DataTypeName(dtype)) +
                    (kind == InputKind::kLogits ? " logits" : " weights") + ", vocab " +
                    std::to_string(vocab) + ", row " + std::to_string(batch.rows.size() - 1);
  return row;
}

// Adds every kind of edit, with several edits of some tokens.
void AddEdits(RandomRow& row) {
  const auto last = static_cast<uint32_t>(row.input.vocab - 1);
  row.params.banned_ids = {2, last};
  if (row.input.kind == InputKind::kWeights) return;
  row.params.logit_bias = {{1, 2.5f}, {last / 2, -kInfinity}};
  row.params.repetition_penalty = 1.25;
  row.params.frequency_penalty = 0.5;
  row.params.presence_penalty = -0.25;
  row.params.no_repeat_ngram_size = 3;
  row.params.dry = {.multiplier = 0.75, .allowed_length = 1};
  row.prompt_ids = {4, 1, 2, 30, 4, 1, 2, 30, last};
  row.output_ids = {11, 4, 12, 4, 1, 2};
  row.history = {.prompt_ids = row.prompt_ids, .output_ids = row.output_ids};
  row.input.history = &row.history;
}

enum class Mask { kNone, kBitmask, kAllowedIds };

void AddMask(Mask mask, RandomRow& row) {
  if (mask == Mask::kBitmask) {
    row.bitmask.assign(static_cast<size_t>((row.input.vocab + 31) / 32 * 4), 0xb6);
    row.input.bitmask = row.bitmask.data();
  } else if (mask == Mask::kAllowedIds) {
    for (int64_t id = 0; id < row.input.vocab; id += 3) {
      row.params.allowed_ids.push_back(static_cast<uint32_t>(id));
    }
  }
}

struct NamedValues {
  const char* name;
  int64_t vocab;
  Values value;
};

std::vector<NamedValues> StageValues() {
  const float below = std::nextafter(1.5f, 0.0f);
  return {
      {"scattered", 700, [](int64_t token) { return 8 * Scattered(token); }},
      {"flat", 1500, [](int64_t token) { return Scattered(token); }},
      // One bin of values has all tokens, one bin of keys has few.
      {"nearly equal", 3000,
       [](int64_t token) { return 1.5 + 0x1p-22 * static_cast<double>(token); }},
      // One bin of keys has nearly all tokens, and the next division is by their ids.
      {"equal but the last", 5000, [=](int64_t token) { return token < 4990 ? 1.5f : below; }},
      {"equal but the first", 5000, [=](int64_t token) { return token < 10 ? 1.5f : below; }},
      {"equal", 2500, [](int64_t) { return 1.5; }},
      // All tokens but one are in the last bin of values, and some of them have no mass.
      {"one far above", 2000,
       [](int64_t token) { return token == 77 ? 40.0 : 3 * Scattered(token); }},
      {"masked", 2000,
       [](int64_t token) { return token % 3 == 0 ? -kInfinity : 5 * Scattered(token); }},
      {"wide", 2000, [](int64_t token) { return 200 * Scattered(token); }},
  };
}

std::vector<SamplingParams> StageParams() {
  constexpr double kNearlyAll = 1.0 - 1e-7;
  const StageOrder filters_first(Stage::kTopP, Stage::kTopK, Stage::kMinP, Stage::kTemperature);
  return {
      {},
      {.temperature = 0.0},
      {.temperature = 0.0, .num_samples = 600, .replacement = true},
      {.temperature = 0.0, .top_k = 30, .stage_order = filters_first},
      {.temperature = 0.7, .num_samples = 40, .replacement = true},
      {.top_k = 1},
      {.temperature = 1.5, .top_k = 40, .min_p = 0.01, .stage_order = filters_first},
      {.num_samples = 40, .replacement = true, .top_k = 513},
      {.temperature = 0.6, .top_k = 60, .top_p = 0.8},
      {.top_k = 1300},
      {.top_k = 1999},
      {.top_p = 0.0},
      {.num_samples = 40, .replacement = true, .top_p = 0.5},
      {.top_p = kNearlyAll},
      {.top_p = 0.1, .stage_order = filters_first},
      {.min_p = 1.0},
      {.num_samples = 40, .replacement = true, .min_p = 1e-6},
      {.min_p = 1e-8},
      {.top_k = 1200, .top_p = 0.6, .min_p = 0.1},
      {.temperature = 1.3, .top_k = 1200, .top_p = 0.99, .stage_order = filters_first},
      {.temperature = 0.8, .top_k = 100, .top_p = 0.9, .min_p = 0.2, .stage_order = kLlamaCppOrder},
      {.temperature = 0.8, .top_k = 100, .top_p = 0.9, .stage_order = kSglangOrder},
  };
}

}  // namespace

RandomBatch MakeElementRows(int64_t vocab) {
  RandomBatch batch;
  struct Input {
    InputKind kind;
    Mask mask;
  };
  // The values include subnormal halves and both zeros.
  const auto value = [](int64_t token) {
    if (token % 50 == 7) return 0x1p-20;
    return token % 50 == 8 ? -0.0 : 6 * Scattered(token);
  };
  for (const DataType dtype : kTypes) {
    for (const Input input :
         {Input{InputKind::kLogits, Mask::kNone}, Input{InputKind::kLogits, Mask::kBitmask},
          Input{InputKind::kWeights, Mask::kAllowedIds}}) {
      for (int i = 0; i < 4; ++i) {
        RandomRow& row =
            AddRow(input.kind, dtype, vocab, value, {.top_k = 20, .top_p = 0.9}, batch);
        AddMask(input.mask, row);
        if (i >= 2) AddEdits(row);
      }
    }
  }
  return batch;
}

RandomBatch MakeStageRows() {
  RandomBatch batch;
  for (const NamedValues& values : StageValues()) {
    for (const SamplingParams& params : StageParams()) {
      RandomRow& row =
          AddRow(InputKind::kLogits, DataType::kFloat32, values.vocab, values.value, params, batch);
      row.description = std::string(values.name) + ", " + row.description;
    }
  }
  for (const SamplingParams& params : StageParams()) {
    SamplingParams unscaled = params;
    if (unscaled.temperature != 0.0) unscaled.temperature = 1.0;
    // Some weights are 0 relative to the largest.
    const auto weight = [](int64_t token) {
      return std::ldexp(1 + Scattered(token),
                        token % 400 == 0 ? -90 : -static_cast<int>(token % 7));
    };
    AddRow(InputKind::kWeights, DataType::kFloat32, 1600, weight, unscaled, batch);
  }
  // The least token that is kept is in the last bin but one, close to tokens of weight 0.
  const auto in_last_bins = [](int64_t token) {
    return token == 9 ? 1.0 : token % 3 == 0 ? 0.0 : 0.0008;
  };
  AddRow(InputKind::kWeights, DataType::kFloat32, 700, in_last_bins, {.top_k = 40}, batch);
  return batch;
}

RandomBatch MakeGuessRows() {
  RandomBatch batch;
  // Returns the value of a token `bin` bins below the largest, with 64 bins per octave of weights.
  const auto at_bin = [](double bin) { return -bin / 64 * std::log(2.0); };
  const auto spread = [](int64_t token, int64_t per_bin) {
    return static_cast<double>(token / per_bin) + 0.5;
  };
  // The bins next to the one in which top-p ends have too many tokens to list.
  const auto many = [=](int64_t token) {
    if (token < 120) return at_bin(spread(token, 3));
    return at_bin(token < 184 ? 40.5 : 41.5);
  };
  AddRow(InputKind::kLogits, DataType::kFloat32, 2184, many, {.top_p = 0.07}, batch);
  // The guess counts tokens that top-k has removed although others of their value are left.
  const auto ties = [=](int64_t token) { return at_bin(token < 512 ? spread(token, 8) : 200.5); };
  AddRow(InputKind::kLogits, DataType::kFloat32, 3512, ties, {.top_k = 1000, .top_p = 0.48}, batch);
  // The first tokens have less weight than the guess assumes, the last ones more, and those among
  // which top-p ends have little.
  const auto skewed = [=](int64_t token) {
    if (token == 0) return at_bin(0);
    if (token < 65) return at_bin(1.98);
    return at_bin(token < 1345 ? 704 + spread(token - 65, 64) : 730.02);
  };
  AddRow(InputKind::kLogits, DataType::kFloat32, 121'345, skewed, {.top_p = 0.5916}, batch);
  return batch;
}

RandomBatch MakeBoundaryRows() {
  RandomBatch batch;
  size_t next = 0;
  const SamplingParams kParams[] = {
      {}, {.top_k = 3}, {.top_p = 0.6}, {.min_p = 0.3}, {.top_k = 520, .top_p = 0.95}};
  for (const int64_t full : {2, 4, 8, 16, 32, 64, 256, 512, 1024, 2048, 4096}) {
    for (const int64_t vocab : {full - 1, full, full + 1}) {
      for (const DataType dtype : kTypes) {
        const auto value = [](int64_t token) { return 2 * Scattered(token); };
        AddRow(InputKind::kLogits, dtype, vocab, value, kParams[next++ % std::size(kParams)],
               batch);
      }
    }
  }
  return batch;
}

RandomBatch MakeLongRow(int64_t vocab) {
  RandomBatch batch;
  const auto value = [](int64_t token) { return 12 * Scattered(token); };
  const SamplingParams params = {.temperature = 0.9, .top_k = 600, .top_p = 0.9, .min_p = 0.001};
  AddRow(InputKind::kLogits, DataType::kFloat16, vocab, value, params, batch);
  return batch;
}

RandomBatch MakeFailingRows() {
  RandomBatch batch;
  constexpr int64_t kVocab = 1031;  // with a tail after the last vector
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const DataType dtype : kTypes) {
    for (const int64_t at : {int64_t{0}, kVocab - 1}) {
      const auto spoiled = [at](double bad) {
        return [at, bad](int64_t token) { return token == at ? bad : Scattered(token); };
      };
      AddRow(InputKind::kLogits, dtype, kVocab, spoiled(kNan), {.top_k = 5}, batch);
      AddRow(InputKind::kLogits, dtype, kVocab, spoiled(kInfinity), {}, batch);
      AddRow(InputKind::kWeights, dtype, kVocab, spoiled(-1.0), {.top_p = 0.5}, batch);
      AddRow(InputKind::kWeights, dtype, kVocab, spoiled(kInfinity), {}, batch);
      AddEdits(AddRow(InputKind::kLogits, dtype, kVocab, spoiled(kNan), {}, batch));
      // A banned token may still not have an invalid value.
      AddMask(Mask::kAllowedIds,
              AddRow(InputKind::kLogits, dtype, kVocab, spoiled(kNan), {}, batch));
    }
    AddRow(
        InputKind::kLogits, dtype, kVocab, [](int64_t) { return -kInfinity; }, {}, batch);
    AddRow(
        InputKind::kWeights, dtype, kVocab, [](int64_t) { return -0.0; }, {}, batch);
  }
  SamplingParams overflow;
  overflow.logit_bias = {{3, kMost}};
  const auto most = [](int64_t token) { return token == 3 ? kMost : 0.0f; };
  AddRow(InputKind::kLogits, DataType::kFloat32, kVocab, most, overflow, batch);
  SamplingParams none_left;
  none_left.banned_ids = {0};
  AddRow(
      InputKind::kLogits, DataType::kFloat32, 1, [](int64_t) { return 1.0; }, none_left, batch);
  return batch;
}

}  // namespace token_sampler::testing
