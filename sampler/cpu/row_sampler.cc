#include "sampler/cpu/row_sampler.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_values.h"
#include "sampler/rows/scaled_weights.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cpu {

bool RowSampler::Takes(const RowInput& row) {
  return (row.outputs == nullptr || row.outputs->gumbel_softmax == 0.0) && CheckState(row).ok();
}

ScannedRow* RowSampler::Prepare(const RowInput& row, ThreadPool* pool, RowResult& result) {
  if (!received_.Scan(row, pool, result)) return nullptr;
  if (const absl::Status status = CheckHistory(row, row.pace); !status.ok()) {
    FailRow(RowCode::kInvalidInput, std::string(status.message()), result);
    return nullptr;
  }
  if (!HasAdjustments(row)) return &received_;
  if (ScannedRow* adjusted = Adjust(pool, result); adjusted != nullptr) return adjusted;
  result.message = absl::StrCat("after adjustments, ", result.message);
  return nullptr;
}

ScannedRow* RowSampler::Adjust(ThreadPool* pool, RowResult& result) {
  const RowInput& row = received_.input();
  ScannedRow* listed = &received_;
  if (BansUnlisted(row)) {
    listed_input_ = received_.Widen(listed_values_);
    BanUnlisted(row, allowed_,
                absl::MakeSpan(listed_values_.data(), static_cast<size_t>(row.vocab)), row.pace);
    if (!listed_.Scan(listed_input_, pool, result)) return nullptr;
    listed = &listed_;
  }
  const ChangedTokens& changed = adjuster_.Adjust(row, listed->input());
  if (changed.ids().empty()) return listed;
  return adjusted_.ScanChanged(*listed, changed, result) ? &adjusted_ : nullptr;
}

ScannedRow* RowSampler::Repair(const RowInput& row, ThreadPool* pool, RowResult& result) {
  result.Clear();
  if (!PrepareValues(row, repaired_, result)) return nullptr;
  const auto scan = [&](const LargeVector<float>& values, RowInput& input, ScannedRow& scanned) {
    input = row;
    input.values = values.data();
    input.dtype = DataType::kFloat32;
    scanned.Scan(input, pool, scanned_);
  };
  scan(repaired_.received, repaired_input_, received_);
  scan(repaired_.adjusted, repaired_adjusted_input_, adjusted_);
  return &adjusted_;
}

void RowSampler::Sample(const RowInput& row, ThreadPool* pool, RowResult& result) {
  SampleAsFloat32(row, pool, result);
  if (const std::optional<RowInput> again = ScaledWeights(row, result, scaled_weights_)) {
    SampleAsFloat32(*again, pool, result);
  }
}

void RowSampler::SampleAsFloat32(const RowInput& input, ThreadPool* pool, RowResult& result) {
  result.Clear();
  ScannedRow* row = Prepare(input, pool, result);
  if (row == nullptr && input.params->invalid_values != InvalidValuePolicy::kFail) {
    row = Repair(input, pool, result);
  }
  if (row == nullptr) return;
  const Distribution& kept = filter_.Run(*row);
  if (!(kept.greedy ? TakeFirst(kept, result) : Draw(kept, result))) return;
  if (input.params->stateful()) {
    const uint32_t drawn = result.token_ids[0];
    result.state = NextState(input, filter_.ProbabilitiesOf(drawn), drawn);
  }
  if (input.outputs == nullptr) return;
  Ask(input.pace);
  WriteOutputs(*input.outputs, kept.OfFirstDraw(), result);
  if (input.outputs->weights) WriteWeights(kept, result);
}

void RowSampler::WriteWeights(const Distribution& kept, RowResult& result) {
  if (kept.greedy) {
    result.greedy = true;
    result.weighed_ids = {kept.row->First()};
    result.weights = {1};
    return;
  }
  filter_.List();
  const TokenList& list = filter_.list();
  std::vector<uint32_t>& ids = result.weighed_ids;
  std::vector<uint64_t>& weights = result.weights;
  ids.reserve(list.count);
  weights.reserve(list.count);
  InPieces(list.pace, list.count, size_t{kListPiece}, [&](size_t begin, size_t end) {
    ids.insert(ids.end(), list.ids.data() + begin, list.ids.data() + end);
    weights.insert(weights.end(), list.weights.data() + begin, list.weights.data() + end);
  });
  size_t drawable = 0;
  list.ForEach([&](size_t i) {
    ids[drawable] = ids[i];
    weights[drawable] = weights[i];
    drawable += weights[i] > 0 ? 1 : 0;
  });
  ids.resize(drawable);
  weights.resize(drawable);
}

void RowSampler::WriteOutputs(const OutputOptions& outputs, const Distribution& kept,
                              RowResult& result) {
  if (outputs.logprob_mode == LogprobMode::kProcessed) {
    writer_.WriteDistribution(outputs, kept, result);
  } else if (WantsDistribution(outputs)) {
    Distribution raw = {.row = &received_,
                        .last = {received_.floor(), kLastId},
                        .weigher = received_.MakeWeigher(1.0),
                        .total = kept.total};
    const bool as_drawn = kept.row == raw.row && kept.temperature == 1.0 &&
                          kept.last.value == raw.last.value && kept.last.id == kLastId;
    if (!as_drawn) {
      raw.total = received_.WeighBlocks(raw.weigher, raw.weigher.floor, block_mass_).all;
    }
    writer_.WriteDistribution(outputs, raw, result);
  }
  writer_.WriteKeptSet(outputs, kept, result);
}

// ---- Draws ----

bool RowSampler::TakeFirst(const Distribution& kept, RowResult& result) {
  ScannedRow& row = *kept.row;
  const SamplingParams& params = *row.input().params;
  const uint32_t wanted = params.num_samples;
  if (wanted == 1 || params.replacement) {
    const uint32_t first = row.First();
    result.token_ids.reserve(wanted);
    InPieces(row.input().pace, wanted, kPieceItems * 4, [&](size_t begin, size_t end) {
      result.token_ids.insert(result.token_ids.end(), end - begin, first);
    });
    return true;
  }
  row.CollectFirst(wanted, list_);
  list_.Retain(kept.last, kernels_);
  if (FailsWithTooFew(params, list_.count, result)) return false;
  keys_.clear();
  keys_.reserve(list_.count);
  // The first token of the order has the greatest key, so sort by the complement.
  list_.ForEach([&](size_t i) { keys_.push_back(~list_.KeyOf(i)); });
  SortByKey<4>(
      list_.pace, keys_.data(), keys_.size(), [](uint64_t key) { return key; }, sorted_keys_);
  result.token_ids.reserve(wanted);
  ForEachPaced(list_.pace, wanted,
               [&](size_t i) { result.token_ids.push_back(TokenOfOrderKey(~keys_[i])); });
  return true;
}

bool RowSampler::Draw(const Distribution& kept, RowResult& result) {
  const RowInput& row = kept.row->input();
  if (row.params->num_samples > 1) return DrawSeveral(kept, result);
  const Uint128 uniform = UniformBits(row.key, RandomDomain::kToken, 0);
  const uint64_t target = ScaleUniform(uniform, kept.total);
  result.token_ids.push_back(filter_.Listed() ? DrawFromList(target)
                                              : DrawFromBlocks(kept, target));
  return true;
}

uint32_t RowSampler::DrawFromList(uint64_t target) {
  const TokenList& list = filter_.list();
  size_t i = 0;
  for (; list.weights[i] <= target; ++i) {
    target -= list.weights[i];
    if (i % size_t{kListPiece} == size_t{kListPiece} - 1) Ask(list.pace);
  }
  return list.ids[i];
}

uint32_t RowSampler::DrawFromBlocks(const Distribution& kept, uint64_t target) {
  int64_t block = 0;
  for (; filter_.block_mass(block) <= target; ++block) target -= filter_.block_mass(block);
  const ScannedRow& row = *kept.row;
  const Cutoff last = kept.last;
  Weigher weigher = kept.weigher;
  weigher.floor = std::max(weigher.floor, last.value);
  uint64_t* weights = block_weights_.Reserve(kBlock);
  row.WeighBlock(block, weigher, weights);
  auto token = static_cast<uint32_t>(block * kBlock);
  while (true) {
    const uint64_t weight = token <= last.id || row.ValueOf(token) > last.value ? *weights : 0;
    if (weight > target) return token;
    target -= weight;
    ++weights;
    ++token;
  }
}

bool RowSampler::DrawSeveral(const Distribution& kept, RowResult& result) {
  const RowInput& row = kept.row->input();
  filter_.List();
  if (FailsWithTooFew(*row.params, filter_.list().count, result)) return false;
  several_draws_.Draw(row, filter_.list(), kept.weigher, result);
  return true;
}

}  // namespace token_sampler::cpu
