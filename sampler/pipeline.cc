#include "sampler/pipeline.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/philox.h"
#include "sampler/row_outputs.h"
#include "sampler/survivors.h"
#include "sampler/wide_integer.h"

namespace token_sampler {
namespace {

bool FailTooFew(const SamplingParams& params, size_t left, RowResult& result) {
  FailRow(RowCode::kTooFewTokens,
          absl::StrCat("num_samples is ", params.num_samples, " without replacement, but only ",
                       left, " tokens are left to draw from"),
          result);
  return false;
}

// SPEC §6: the draws.
bool Draw(const RowInput& row, std::vector<Token> tokens, RowResult& result) {
  const SamplingParams& params = *row.params;
  const auto drawable = std::count_if(tokens.begin(), tokens.end(),
                                      [](const Token& token) { return token.weight > 0; });
  if (!params.replacement && params.num_samples > drawable) {
    return FailTooFew(params, static_cast<size_t>(drawable), result);
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const Token& a, const Token& b) { return a.id < b.id; });
  uint64_t total = 0;
  for (const Token& token : tokens) total += token.weight;
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    const uint64_t target = ScaleUniform(UniformBits(row.key, RandomDomain::kToken, index), total);
    auto drawn = tokens.begin();
    for (uint64_t mass = drawn->weight; mass <= target; mass += drawn->weight) ++drawn;
    result.token_ids.push_back(drawn->id);
    if (row.outputs != nullptr && row.outputs->gumbel_softmax > 0.0) {
      AppendGumbelSoftmax(row, index, drawn->id, tokens, result);
    }
    if (!params.replacement) total -= std::exchange(drawn->weight, 0);
  }
  return true;
}

// Temperature 0: the first tokens of the order, no random number.
bool TakeGreedy(const RowInput& row, const std::vector<Token>& tokens, RowResult& result) {
  const SamplingParams& params = *row.params;
  if (!params.replacement && params.num_samples > tokens.size()) {
    return FailTooFew(params, tokens.size(), result);
  }
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    const Token& taken = tokens[params.replacement ? 0 : index];
    result.token_ids.push_back(taken.id);
    if (row.outputs != nullptr && row.outputs->gumbel_softmax > 0.0) {
      AppendGumbelSoftmax(row, index, taken.id, {{taken.id, taken.value, 1}}, result);
    }
  }
  return true;
}

}  // namespace

bool ProcessRow(const RowInput& row, StageObserver observer, ProcessedRow& processed,
                RowResult& result) {
  result.Clear();
  if (std::string error = CheckState(row); !error.empty()) {
    FailRow(RowCode::kInvalidInput, std::move(error), result);
    return false;
  }
  if (!PrepareValues(row, processed.values, result)) return false;
  processed.staged.survivors = SortTokens(row.kind, processed.values.adjusted);
  for (const Stage stage : row.params->stage_order) {
    ApplyStage(row, stage, processed.staged);
    observer(stage, processed.staged);
    if (processed.staged.greedy) break;
  }
  return true;
}

bool ProcessRow(const RowInput& row, ProcessedRow& processed, RowResult& result) {
  return ProcessRow(
      row, [](Stage, const StagedRow&) {}, processed, result);
}

void SampleRowByPipeline(const RowInput& row, RowResult& result) {
  ProcessedRow processed;
  if (!ProcessRow(row, processed, result)) return;
  StagedRow& staged = processed.staged;
  Survivors& survivors = staged.survivors;
  const bool drawn = staged.greedy ? TakeGreedy(row, survivors.tokens, result)
                                   : Draw(row, survivors.tokens, result);
  if (!drawn) return;
  if (row.params->stateful()) {
    const uint32_t first = result.token_ids[0];
    result.state = NextState(row, ProbabilitiesOf(first, staged), first);
  }

  if (row.outputs == nullptr) return;
  if (staged.greedy) survivors.tokens.resize(1);
  if (row.outputs->weights) WriteWeights(survivors, staged.greedy, result);
  if (row.outputs->logprob_mode == LogprobMode::kRaw) {
    WriteDistribution(row, SortTokens(row.kind, processed.values.received), result);
  } else {
    WriteDistribution(row, survivors, result);
  }
  WriteKeptSet(row, survivors, result);
}

}  // namespace token_sampler
