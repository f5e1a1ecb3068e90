#include "tests/conformance/kernel_rows.h"

#include <iterator>
#include <random>

namespace token_sampler::testing {

void LeaveToKernel(uint64_t seed, RandomBatch& batch) {
  std::mt19937_64 random(seed);
  const auto one_in = [&random](uint64_t n) { return random() % n == 0; };
  const auto fraction = [&random] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  for (auto& row : batch.rows) {
    SamplingParams& params = row->params;
    params = {};
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
    row->input.history = nullptr;
    row->input.bitmask = nullptr;
    row->input.state = nullptr;
  }
}

}  // namespace token_sampler::testing
