#include "tests/conformance/kernel_rows.h"

#include <iterator>
#include <random>

#include "sampler/params/stage_table.h"
#include "sampler/rows/adjustments.h"

namespace token_sampler::testing {

namespace {

// Returns parameters with only the adjustments of `params`.
SamplingParams AdjustmentsOf(const SamplingParams& params) {
  SamplingParams adjustments;
  adjustments.allowed_ids = params.allowed_ids;
  adjustments.banned_ids = params.banned_ids;
  adjustments.bad_words = params.bad_words;
  adjustments.min_tokens = params.min_tokens;
  adjustments.stop_ids = params.stop_ids;
  adjustments.logit_bias = params.logit_bias;
  adjustments.repetition_penalty = params.repetition_penalty;
  adjustments.frequency_penalty = params.frequency_penalty;
  adjustments.presence_penalty = params.presence_penalty;
  adjustments.penalty_last_n = params.penalty_last_n;
  adjustments.no_repeat_ngram_size = params.no_repeat_ngram_size;
  adjustments.dry = params.dry;
  return adjustments;
}

}  // namespace

void LeaveToKernel(uint64_t seed, RandomBatch& batch) {
  std::mt19937_64 random(seed);
  const auto one_in = [&random](uint64_t n) { return random() % n == 0; };
  const auto fraction = [&random] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  for (auto& row : batch.rows) {
    SamplingParams& params = row->params;
    params = AdjustmentsOf(params);
    if (one_in(2) || !CheckHistory(row->input).ok()) {
      params = {};
      row->input.history = nullptr;
      row->input.bitmask = nullptr;
    }
    if (row->input.kind == InputKind::kLogits && !one_in(3)) {
      params.temperature = one_in(6) ? 0.0 : 0.05 + 2.0 * fraction();
    }
    if (one_in(2)) {
      params.top_k = static_cast<uint32_t>(1 + random() % (one_in(3) ? 5000 : 80));
    }
    if (one_in(2)) params.top_p = one_in(8) ? 0.0 : one_in(3) ? 1.0 - 1e-6 : fraction();
    if (one_in(3)) params.min_p = one_in(8) ? 1.0 : fraction() * fraction() * fraction();
    if (one_in(3)) {
      params.replacement = true;
      params.num_samples = static_cast<uint32_t>(1 + random() % 20);
    }
    constexpr StageOrder kOrders[] = {
        kVllmOrder, kHfOrder, kLlamaCppOrder, kSglangOrder,
        StageOrder(Stage::kTopP, Stage::kMinP, Stage::kTemperature, Stage::kTopK)};
    params.stage_order = kOrders[random() % std::size(kOrders)];
    row->input.outputs = nullptr;
    row->input.state = nullptr;
  }
}

}  // namespace token_sampler::testing
