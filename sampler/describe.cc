#include "sampler/describe.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "sampler/pipeline.h"
#include "sampler/row_source.h"
#include "sampler/scaled_weights.h"
#include "sampler/survivors.h"

namespace token_sampler {
namespace {

StageView View(std::string stage, const Survivors& survivors, uint32_t top_n) {
  StageView view;
  view.stage = std::move(stage);
  view.kept_count = static_cast<uint32_t>(survivors.tokens.size());
  view.entropy = Entropy(survivors);
  const auto total = static_cast<double>(survivors.TotalWeight());
  const ProbabilityRange range = ProbabilityRangeOf(survivors);
  view.max_probability = range.max;
  view.min_probability = range.min;
  const size_t count = std::min<size_t>(top_n, survivors.tokens.size());
  for (size_t i = 0; i < count; ++i) {
    view.top_token_ids.push_back(survivors.tokens[i].id);
    view.top_probabilities.push_back(static_cast<double>(survivors.tokens[i].weight) / total);
  }
  return view;
}

// The share of `before` that is not in `after`.
double RemovedMass(const Survivors& before, const Survivors& after, int64_t vocab) {
  std::vector<bool> kept(static_cast<size_t>(vocab));
  for (const Token& token : after.tokens) kept[token.id] = true;
  uint64_t removed = 0;
  for (const Token& token : before.tokens) removed += kept[token.id] ? 0 : token.weight;
  return static_cast<double>(removed) / static_cast<double>(before.TotalWeight());
}

std::vector<StageView> DescribeAsFloat32(const RowInput& row, uint32_t top_n, RowResult& result) {
  // The row is prepared here for its first views, and once more by the pipeline.
  RowValues values;
  result.Clear();
  if (!PrepareValues(row, values, result)) return {};
  Survivors before = SortTokens(row.kind, values.received);
  std::vector<StageView> views = {View("input", before, top_n)};
  const auto add = [&](std::string stage, Survivors after) {
    views.push_back(View(std::move(stage), after, top_n));
    views.back().removed_mass = RemovedMass(before, after, row.vocab);
    before = std::move(after);
  };
  add("adjusted", SortTokens(row.kind, values.adjusted));
  const auto observe = [&](Stage stage, const StagedRow& staged) {
    if (!StageIsOn(*row.params, stage)) return;
    Survivors after = staged.survivors;
    if (staged.greedy) after.tokens.resize(1);
    add(absl::AsciiStrToLower(StageName(stage)), std::move(after));
  };
  ProcessedRow processed;
  if (!ProcessRow(row, observe, processed, result)) return {};
  return views;
}

}  // namespace

std::vector<StageView> DescribeRow(const RowInput& input, uint32_t top_n, RowResult& result) {
  std::vector<char> read;
  const LoadedRow loaded(input, read, result);
  if (loaded.get() == nullptr) return {};
  std::vector<StageView> views = DescribeAsFloat32(*loaded.get(), top_n, result);
  std::vector<float> scaled;
  if (const std::optional<RowInput> again = ScaledWeights(*loaded.get(), result, scaled)) {
    views = DescribeAsFloat32(*again, top_n, result);
  }
  return views;
}

}  // namespace token_sampler
