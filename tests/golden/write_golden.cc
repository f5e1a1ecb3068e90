// Prints the golden file, sampled by the reference sampler:
//   token-sampler-write-golden > tests/golden/golden.txt
// Only for new cases, or with a new kSpecVersion: a line that changes is a broken promise.

#include <cstdio>

#include "sampler/params/stage_table.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/golden/golden_file.h"
#include "tests/testing/every_stage.h"

namespace token_sampler::testing {
namespace {

std::vector<GoldenRowName> LogitRows() {
  std::vector<GoldenRowName> rows;
  constexpr DataType kF32 = DataType::kFloat32;
  for (const char* shape : {"flat", "normal", "wide", "shifted", "sunken", "equal", "ties",
                            "ascending", "descending", "denormal", "peaked", "masked", "lonely"}) {
    for (const int64_t vocab : {1, 2, 17, 1000, 4099}) rows.push_back({shape, vocab, 1, kF32});
  }
  for (const DataType type : {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat64}) {
    for (const int64_t vocab : {3, 257, 5000}) rows.push_back({"halves", vocab, 2, type});
  }
  rows.push_back({"normal", 32'000, 3, DataType::kBFloat16});
  rows.push_back({"normal", 50'257, 4, DataType::kFloat64});
  rows.push_back({"flat", 128'256, 5, kF32});
  rows.push_back({"normal", 128'256, 6, kF32});
  rows.push_back({"wide", 128'256, 7, DataType::kBFloat16});
  rows.push_back({"ties", 151'936, 8, kF32});
  rows.push_back({"normal", 262'144, 9, kF32});
  rows.push_back({"flat", 600'000, 10, kF32});  // fewer fraction bits
  for (uint32_t variant = 0; variant < 63; variant += 5) {
    rows.push_back({"bible", 13'795, variant, DataType::kFloat16});
  }
  return rows;
}

std::vector<GoldenRowName> WeightRows() {
  std::vector<GoldenRowName> rows;
  for (const char* shape : {"weights", "counts", "spread"}) {
    for (const int64_t vocab : {1, 3, 100, 5000, 70'000}) {
      rows.push_back({shape, vocab, 11, DataType::kFloat32});
    }
  }
  rows.push_back({"counts", 300, 12, DataType::kFloat16});
  return rows;
}

std::vector<SamplingParams> AnyParams() {
  return {{},
          {.temperature = 0},
          {.top_k = 1},
          {.top_k = 50},
          {.top_p = 0},
          {.top_p = 0.5},
          {.top_p = 0.9},
          {.top_p = 0.999999},
          {.min_p = 0.05},
          {.min_p = 1},
          {.top_k = 50, .top_p = 0.9},
          {.top_k = 1000, .top_p = 0.3, .min_p = 0.001},
          {.num_samples = 7, .replacement = true},
          {.num_samples = 3, .replacement = true, .top_k = 40, .top_p = 0.95, .min_p = 0.02}};
}

std::vector<SamplingParams> LogitParams() {
  return {{.temperature = 0.1},
          {.temperature = 0.7, .top_p = 0.9},
          {.temperature = 1.3, .top_k = 20},
          {.temperature = 5, .top_k = 200, .top_p = 0.8, .min_p = 0.01},
          {.temperature = 1e6},
          {.temperature = 1e-6}};
}

// Returns the order as lines spell it. A preset names every stage, but a line must not change when
// there is a new one: leave out later stages that are off.
StageOrder AsWritten(const SamplingParams& params) {
  constexpr Stage kLastOfFirst = Stage::kTopKTopP;
  if (params.stage_order == DefaultStageOrder()) return params.stage_order;
  StageOrder order;
  for (const Stage stage : params.stage_order) {
    if (stage <= kLastOfFirst || StageIsOn(params, stage)) order.Add(stage);
  }
  return order;
}

void Print(const GoldenRowName& row, const std::vector<SamplingParams>& params) {
  std::vector<GoldenCase> cases;
  for (SamplingParams p : params) {
    if (!p.replacement && p.num_samples > row.vocab) continue;
    p.stage_order = AsWritten(p);
    for (const RowKey& key : {RowKey{0, 0, 0}, RowKey{42, 1000, 0},
                              RowKey{0xdeadbeefcafef00d, (uint64_t{1} << 40) + 5, 3}}) {
      // Long rows are slow to sample by sorting, so use only one key for each.
      if (row.vocab > 100'000 && key.seed != 42) continue;
      cases.push_back({row, p, key, {}});
    }
  }
  const std::unique_ptr<Sampler> sampler = CreateReferenceSampler();
  const auto tokens = SampleGoldenCases(cases, *sampler);
  for (size_t i = 0; i < cases.size(); ++i) {
    cases[i].token_ids = tokens[i];
    std::puts(FormatGoldenCase(cases[i]).c_str());
  }
}

// Presets as the first lines spell them, before there were more stages.
constexpr StageOrder kFirstHf(Stage::kTemperature, Stage::kTopK, Stage::kTopP, Stage::kMinP,
                              Stage::kEpsilon, Stage::kPLess, Stage::kXtc);
constexpr StageOrder kFirstLlamaCpp(Stage::kTopK, Stage::kTopP, Stage::kMinP, Stage::kXtc,
                                    Stage::kTemperature, Stage::kEpsilon, Stage::kPLess);
constexpr StageOrder kFirstSglang(Stage::kTemperature, Stage::kTopKTopP, Stage::kMinP,
                                  Stage::kEpsilon, Stage::kPLess, Stage::kXtc);

// Less common filters, and the orders of other engines.
std::vector<SamplingParams> RareParams() {
  return {{.top_k = 3, .top_k_ties = TiePolicy::kKeepAll},
          {.top_k = 100, .top_p = 0.9, .top_k_ties = TiePolicy::kKeepAll},
          {.epsilon_cutoff = 0.001},
          {.p_less = true},
          {.xtc_probability = 0.5, .xtc_threshold = 0.01},
          {.top_k = 20, .xtc_probability = 1, .xtc_threshold = 0.05, .min_tokens_to_keep = 3},
          {.top_k = 50, .top_p = 0.6, .min_p = 0.02, .stage_order = kFirstHf},
          {.top_k = 50, .top_p = 0.6, .min_p = 0.02, .stage_order = kFirstLlamaCpp},
          {.top_k = 50, .top_p = 0.6, .min_p = 0.02, .stage_order = kFirstSglang},
          {.top_p = 0.9,
           .epsilon_cutoff = 0.0001,
           .stage_order = StageOrder(Stage::kEpsilon, Stage::kTopP)}};
}

// The filters that need logarithms.
std::vector<SamplingParams> LogarithmParams() {
  return {{.typical_p = 0.9},
          {.top_k = 40, .typical_p = 0.3},
          {.eta_cutoff = 0.002},
          {.mirostat = Mirostat{.version = 1, .tau = 3}},
          {.mirostat = Mirostat{.version = 2, .tau = 3}},
          {.min_p = 0.01, .adaptive_p = AdaptiveP{.target = 0.3}},
          {.greedy_threshold = 0.2}};
}

std::vector<SamplingParams> LogitLogarithmParams() {
  return {{.top_n_sigma = 1.5},
          {.temperature = 0.8, .top_p = 0.95, .typical_p = 0.7, .stage_order = kLlamaCppOrder},
          {.temperature = 0.9, .dynamic_temperature = DynamicTemperature{.range = 0.5}}};
}

// Prints the cases that version 2 of the specification added: more draws than tokens with a weight,
// weights beyond float32, and minima with ties.
void PrintVersion2() {
  constexpr DataType kF32 = DataType::kFloat32;
  for (const int64_t vocab : {3, 17, 1000}) {
    const auto all = static_cast<uint32_t>(vocab);
    const std::vector<SamplingParams> many = {
        {.num_samples = all}, {.num_samples = all - 1, .top_k = all - 1}, {.num_samples = all / 2}};
    Print({"cliffs", vocab, 1, kF32}, many);
    Print({"cliffs", vocab, 1, kF32}, {{.temperature = 0.1, .num_samples = all}});
    Print({"spread", vocab, 11, kF32}, many);
    Print({"doubles", vocab, 13, DataType::kFloat64}, many);
  }
  for (uint32_t variant = 0; variant < 63; variant += 5) {
    Print({"bible", 13'795, variant, DataType::kFloat16},
          {{.temperature = 0.1, .num_samples = 5}, {.temperature = 0.02, .num_samples = 50}});
  }
  for (const int64_t vocab : {3, 17, 1000}) {
    for (const char* shape : {"ties", "equal", "peaked", "cliffs"}) {
      std::vector<SamplingParams> params;
      for (const uint32_t least : {2u, 3u, 20u}) {
        for (SamplingParams p :
             {SamplingParams{.top_k = 2}, SamplingParams{.typical_p = 0.3},
              SamplingParams{.epsilon_cutoff = 0.3}, SamplingParams{.eta_cutoff = 0.3}}) {
          p.top_k_ties = TiePolicy::kKeepAll;
          p.min_tokens_to_keep = least;
          p.stage_order = kHfOrder;
          params.push_back(p);
        }
      }
      Print({shape, vocab, 14, kF32}, params);
    }
  }
}

// Prints each stage at each of its strengths, so that a new stage gets lines of its own.
void PrintEveryStage() {
  constexpr DataType kF32 = DataType::kFloat32;
  const std::vector<GoldenRowName> logits = {
      {"normal", 1000, 15, kF32}, {"ties", 17, 15, kF32}, {"bible", 13'795, 7, DataType::kFloat16}};
  const std::vector<GoldenRowName> weights = {{"spread", 100, 15, kF32}, {"counts", 300, 15, kF32}};
  for (const StageSetting& setting : EveryStage()) {
    std::vector<SamplingParams> params;
    for (const double strength : setting.strengths) setting.set(strength, params.emplace_back());
    for (const GoldenRowName& row : logits) Print(row, params);
    std::erase_if(params, [](const SamplingParams& p) {
      return !ValidateParams(p, InputKind::kWeights, 100, {.profile = "params"}).ok();
    });
    for (const GoldenRowName& row : weights) Print(row, params);
  }
}

void PrintAll() {
  std::printf("# Specification version %u. Format: README.md.\n", kSpecVersion);
  for (const GoldenRowName& row : LogitRows()) {
    std::vector<SamplingParams> params = AnyParams();
    for (const SamplingParams& p : LogitParams()) params.push_back(p);
    if (row.vocab >= 3 && row.shape != "lonely" && row.shape != "masked")
      params.push_back({.num_samples = 3});
    if (row.vocab == 1000 && row.shape != "lonely" && row.shape != "masked" &&
        row.shape != "wide") {
      params.push_back({.num_samples = 200});
    }
    Print(row, params);
  }
  for (const GoldenRowName& row : WeightRows()) {
    std::vector<SamplingParams> params = AnyParams();
    if (row.vocab >= 3 && row.shape != "spread") params.push_back({.num_samples = 2});
    Print(row, params);
  }
  for (const std::vector<GoldenRowName>& rows : {LogitRows(), WeightRows()}) {
    for (const GoldenRowName& row : rows) {
      std::vector<SamplingParams> params = RareParams();
      if (row.shape != "weights" && row.shape != "counts" && row.shape != "spread") {
        params.push_back({.temperature = 0.6,
                          .top_p = 0.8,
                          .xtc_probability = 1,
                          .xtc_threshold = 0.02,
                          .stage_order = kFirstLlamaCpp});
      }
      if (row.vocab > 2 && row.vocab <= 32'000) Print(row, params);
    }
  }
  for (const GoldenRowName& row : LogitRows()) {
    if (row.vocab <= 2 || row.vocab > 32'000) continue;
    Print(row, LogarithmParams());
    Print(row, LogitLogarithmParams());
  }
  for (const GoldenRowName& row : WeightRows()) {
    if (row.vocab > 2 && row.vocab <= 32'000) Print(row, LogarithmParams());
  }
  PrintVersion2();
  PrintEveryStage();
}

}  // namespace
}  // namespace token_sampler::testing

int main() { token_sampler::testing::PrintAll(); }
