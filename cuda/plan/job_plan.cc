#include "cuda/plan/job_plan.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "sampler/params/stage_table.h"
#include "sampler/rows/adjustments.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler::cuda {
namespace {

absl::string_view WhyNotStage(const SamplingParams& params, Stage stage) {
  switch (stage) {
    case Stage::kTemperature:
      if (params.dynamic_temperature.has_value()) return "dynamic_temperature";
      return params.greedy_threshold.has_value() ? "greedy_threshold" : "";
    case Stage::kMinP:
    case Stage::kTopK:
    case Stage::kTopP:
    case Stage::kTopKTopP:
      return "";
    default:
      return StageIsOn(params, stage) ? StageName(stage) : "";
  }
}

absl::string_view WhyNotParams(const SamplingParams& params) {
  for (const Stage stage : params.stage_order) {
    if (const absl::string_view why = WhyNotStage(params, stage); !why.empty()) return why;
  }
  if (params.num_samples > kMaxDrawsPerRow) return "num_samples";
  if (params.num_samples != 1 && !params.replacement) return "replacement";
  if (params.min_tokens_to_keep != 1) return "min_tokens_to_keep";
  if (params.top_k_ties != TiePolicy::kExactlyK) return "top_k_ties";
  if (params.invalid_values != InvalidValuePolicy::kFail) return "invalid_values";
  return params.stateful() ? "state" : "";
}

class StageList {
 public:
  explicit StageList(RowJob& job) : job_(job) {}

  void Add(JobStage stage) { job_.stages[size_++] = stage; }
  void AddTopK(const RowInput& row) {
    if (row.params->top_k != 0 && row.params->top_k < row.vocab) Add(JobStage::kTopK);
  }
  void AddTopP(const RowInput& row) {
    if (row.params->top_p < 1.0) Add(JobStage::kTopP);
  }

 private:
  RowJob& job_;
  int size_ = 0;
};

bool TopKComesFirst(const RowJob& job) {
  for (const JobStage stage : job.stages) {
    if (stage == JobStage::kTopK) return true;
    if (stage == JobStage::kTopP) return false;
  }
  return false;
}

}  // namespace

absl::string_view WhyNotKernel(const RowInput& row) {
  if (const absl::string_view why = WhyNotParams(*row.params); !why.empty()) return why;
  if (row.outputs != nullptr && !TokensOnly(*row.outputs)) return "outputs";
  // Leave rows with an invalid history or state to the CPU sampler, which reports the error.
  if (!CheckHistory(row).ok()) return "history";
  return CheckState(row).ok() ? "" : "state";
}

RowJob PlanJob(const RowInput& row) {
  const SamplingParams& params = *row.params;
  const int fraction_bits = FractionBits(row.vocab);
  const double temperature = TemperatureAt(params, row.key.step);
  RowJob job = {};
  job.key = row.key;
  job.min_p = params.min_p;
  job.top_p = params.top_p;
  job.repetition_penalty = static_cast<float>(params.repetition_penalty);
  job.presence_penalty = static_cast<float>(params.presence_penalty);
  job.scale_at_one = MakeWeightScale(1.0, fraction_bits);
  job.scale = temperature == 0.0 ? job.scale_at_one : MakeWeightScale(temperature, fraction_bits);
  job.vocab = static_cast<uint32_t>(row.vocab);
  job.top_k = params.top_k;
  job.num_samples = params.num_samples;
  job.dtype = row.dtype;
  job.is_logits = row.kind == InputKind::kLogits;
  StageList stages(job);
  for (const Stage stage : params.stage_order) {
    if (stage == Stage::kTemperature && temperature == 0.0) job.greedy = true;
    if (stage == Stage::kTemperature && temperature != 1.0) stages.Add(JobStage::kTemperature);
    if (stage == Stage::kMinP && params.min_p > 0.0) stages.Add(JobStage::kMinP);
    // The joint stage's two prefixes use the same masses, those before either filter.
    if (stage == Stage::kTopP || stage == Stage::kTopKTopP) stages.AddTopP(row);
    if (stage == Stage::kTopK || stage == Stage::kTopKTopP) stages.AddTopK(row);
  }
  job.top_k_first = TopKComesFirst(job);
  return job;
}

size_t MaskWords(const RowInput& row) {
  constexpr int64_t kBits = 32;
  return BansUnlisted(row) ? static_cast<size_t>((row.vocab + kBits - 1) / kBits) : 0;
}

void WriteMask(const RowInput& row, uint32_t* words) {
  const size_t count = MaskWords(row);
  const std::vector<uint32_t>& allowed_ids = row.params->allowed_ids;
  if (allowed_ids.empty()) {
    std::memcpy(words, row.bitmask, count * sizeof(uint32_t));
    return;
  }
  std::fill_n(words, count, 0u);
  for (const uint32_t id : allowed_ids) {
    const uint32_t byte = row.bitmask == nullptr ? 0xffu : row.bitmask[id / 8];
    words[id / 32] |= (byte >> (id % 8) & 1) << (id % 32);
  }
}

TokenEdit& EditLister::Of(uint32_t token) {
  if (edited_.Add(token)) {
    place_of_[token] = static_cast<uint32_t>(edits_.size());
    edits_.push_back({.token = token, .operations = 0, .bias = 0, .frequency = 0, .dry = 0});
  }
  return edits_[place_of_[token]];
}

void EditLister::AddPenalties(const SamplingParams& params) {
  for (const uint32_t id : lists_.repeated()) Of(id).operations |= TokenEdit::kRepetition;
  const auto frequency = static_cast<float>(params.frequency_penalty);
  for (const uint32_t id : lists_.counted()) {
    TokenEdit& edit = Of(id);
    edit.operations |= TokenEdit::kCounted;
    edit.frequency = frequency * static_cast<float>(lists_.CountOf(id));
  }
  for (const uint32_t id : lists_.repeating()) Of(id).operations |= TokenEdit::kBanRepeating;
  for (const DryPenalty& penalty : lists_.dry()) {
    TokenEdit& edit = Of(penalty.id);
    edit.operations |= TokenEdit::kDry;
    edit.dry = penalty.value;
  }
}

const std::vector<TokenEdit>& EditLister::List(const RowInput& row) {
  edits_.clear();
  if (!HasAdjustments(row)) return edits_;
  edited_.Reset(row.vocab, nullptr);
  const auto vocab = static_cast<size_t>(row.vocab);
  if (place_of_.size() < vocab) place_of_.resize(vocab);
  lists_.Collect(row);
  for (const uint32_t id : lists_.banned()) Of(id).operations |= TokenEdit::kBan;
  for (const TokenBias& bias : row.params->logit_bias) {
    TokenEdit& edit = Of(bias.token_id);
    edit.operations |= TokenEdit::kBias;
    edit.bias = bias.value;
  }
  AddPenalties(*row.params);
  return edits_;
}

}  // namespace token_sampler::cuda
