#include "sampler/reference/pipeline.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/reference/row_outputs.h"
#include "sampler/reference/survivors.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/scaled_weights.h"

namespace token_sampler {
namespace {

// Draws between two calls of the row's pace, if each draw reads few tokens.
constexpr uint32_t kPieceDraws = 256;

// Draws tokens: SPEC.md §6.
bool Draw(const RowInput& row, const Survivors& survivors, RowResult& result) {
  const SamplingParams& params = *row.params;
  if (FailsWithTooFew(params, survivors.tokens.size(), result)) return false;
  result.token_ids.reserve(params.num_samples);
  Survivors left = CopyOf(survivors);
  SortById(left);
  LargeVector<Token>& tokens = left.tokens;
  uint64_t total = left.TotalWeight();
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    if (total == 0) {
      left.Weigh(left.temperature);
      total = left.TotalWeight();
    }
    const uint64_t target = ScaleUniform(UniformBits(row.key, RandomDomain::kToken, index), total);
    size_t drawn = 0;
    for (uint64_t mass = tokens[0].weight; mass <= target; mass += tokens[drawn].weight) {
      if (++drawn % kPieceItems == 0) Ask(row.pace);
    }
    result.token_ids.push_back(tokens[drawn].id);
    if (row.outputs != nullptr && row.outputs->gumbel_softmax > 0.0) {
      AppendGumbelSoftmax(row, index, tokens[drawn].id, tokens, result);
    }
    if (index % kPieceDraws == kPieceDraws - 1) Ask(row.pace);
    if (params.replacement) continue;
    total -= tokens[drawn].weight;
    ForEachPaced(row.pace, tokens.size() - drawn - 1,
                 [&](size_t i) { tokens[drawn + i] = tokens[drawn + i + 1]; });
    tokens.pop_back();
  }
  return true;
}

// Takes the first tokens of the order, without random numbers.
bool TakeGreedy(const RowInput& row, const LargeVector<Token>& tokens, RowResult& result) {
  const SamplingParams& params = *row.params;
  if (FailsWithTooFew(params, tokens.size(), result)) return false;
  result.token_ids.reserve(params.num_samples);
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    const Token& taken = tokens[params.replacement ? 0 : index];
    result.token_ids.push_back(taken.id);
    if (index % kPieceItems == kPieceItems - 1) Ask(row.pace);
    if (row.outputs != nullptr && row.outputs->gumbel_softmax > 0.0) {
      AppendGumbelSoftmax(row, index, taken.id, {{taken.id, taken.value, 1}}, result);
    }
  }
  return true;
}

void SampleAsFloat32(const RowInput& row, RowResult& result) {
  ProcessedRow processed;
  if (!ProcessRow(row, processed, result)) return;
  StagedRow& staged = processed.staged;
  Survivors& survivors = staged.survivors;
  const bool drawn =
      staged.greedy ? TakeGreedy(row, survivors.tokens, result) : Draw(row, survivors, result);
  if (!drawn) return;
  if (row.params->stateful()) {
    const uint32_t first = result.token_ids[0];
    result.state = NextState(row, ProbabilitiesOf(first, staged), first);
  }

  if (row.outputs == nullptr) return;
  if (staged.greedy) survivors.tokens.resize(1);
  if (row.outputs->weights) WriteWeights(survivors, staged.greedy, result);
  if (row.outputs->logprob_mode == LogprobMode::kRaw) {
    WriteDistribution(row, SortTokens(row.kind, processed.values.received, row.pace), result);
  } else {
    WriteDistribution(row, survivors, result);
  }
  WriteKeptSet(row, survivors, result);
}

}  // namespace

bool ProcessRow(const RowInput& row, StageObserver observer, ProcessedRow& processed,
                RowResult& result) {
  result.Clear();
  if (const absl::Status status = CheckState(row); !status.ok()) {
    FailRow(RowCode::kInvalidInput, std::string(status.message()), result);
    return false;
  }
  if (!PrepareValues(row, processed.values, result)) return false;
  processed.staged.survivors = SortTokens(row.kind, processed.values.adjusted, row.pace);
  RunStages(row, observer, processed.staged);
  return true;
}

void RunStages(const RowInput& row, StageObserver observer, StagedRow& staged) {
  for (const Stage stage : row.params->stage_order) {
    ApplyStage(row, stage, staged);
    observer(stage, staged);
    if (staged.greedy) break;
  }
}

bool ProcessRow(const RowInput& row, ProcessedRow& processed, RowResult& result) {
  return ProcessRow(
      row, [](Stage, const StagedRow&) {}, processed, result);
}

void SampleRowByPipeline(const RowInput& row, RowResult& result) {
  const FreeingPace freeing(row.pace);
  const auto sample = [&] {
    SampleAsFloat32(row, result);
    LargeVector<float> scaled;
    if (const std::optional<RowInput> again = ScaledWeights(row, result, scaled)) {
      SampleAsFloat32(*again, result);
    }
  };
  RunPaced(sample, [&] { FailInterrupted(result); });
}

}  // namespace token_sampler
