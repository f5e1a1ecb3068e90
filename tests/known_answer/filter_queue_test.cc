// Tests the cases of llama.cpp's test_sampler_queue (tests/test-sampling.cpp): top-k, top-p and
// min-p on logits ln(i), in every order, for which the kept set has a closed form.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::WeightRow;

constexpr uint32_t kVocab = 10'000;

struct Queue {
  std::string stages;  // "k", "p" and "m", each at most once
  uint32_t top_k;
  double top_p;
  double min_p;
};

// Returns the smallest id that the queue keeps. It keeps all ids above.
uint32_t SmallestKept(const Queue& queue) {
  uint32_t first = 1;  // token 0 has no weight
  for (const char stage : queue.stages) {
    switch (stage) {
      case 'k':
        first = std::max(first, kVocab - queue.top_k);
        break;
      case 'm':
        // With a single rounding, the sign of id - min_p * largest is exact.
        while (std::fma(queue.min_p, -double{kVocab - 1}, static_cast<double>(first)) < 0) ++first;
        break;
      default: {
        double total = 0;
        for (uint32_t id = first; id < kVocab; ++id) total += id;
        double mass = kVocab - 1;
        uint32_t smallest = kVocab - 1;
        while (std::fma(queue.top_p, -total, mass) < 0) mass += --smallest;
        first = smallest;
      }
    }
  }
  return first;
}

SamplingParams ParamsOf(const Queue& queue) {
  SamplingParams params;
  StageOrder order;
  for (const char stage : queue.stages) {
    switch (stage) {
      case 'k':
        order.Add(Stage::kTopK);
        params.top_k = queue.top_k;
        break;
      case 'm':
        order.Add(Stage::kMinP);
        params.min_p = queue.min_p;
        break;
      default:
        order.Add(Stage::kTopP);
        params.top_p = queue.top_p;
    }
  }
  params.stage_order = order;
  return params;
}

class FilterQueueTest : public ::testing::TestWithParam<std::string> {};

TEST_P(FilterQueueTest, KeepsTheClosedForm) {
  std::vector<float> weights;
  for (uint32_t id = 0; id < kVocab; ++id) weights.push_back(static_cast<float>(id));
  for (const uint32_t top_k : {1u, 100u, kVocab}) {
    for (const double top_p : {0.0, .0003, .8, 1.0}) {
      for (const double min_p : {1e-12, .1, 9997.9 / 9999}) {
        const Queue queue = {GetParam(), top_k, top_p, min_p};
        const SamplingParams params = ParamsOf(queue);
        const auto kept = KeptProbabilities(WeightRow(weights, params));
        const uint32_t smallest = SmallestKept(queue);
        EXPECT_EQ(kept.begin()->first, smallest) << top_k << " " << top_p << " " << min_p;
        EXPECT_EQ(kept.size(), kVocab - smallest) << top_k << " " << top_p << " " << min_p;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllOrders, FilterQueueTest,
                         ::testing::Values("k", "p", "m", "kp", "pk", "km", "mk", "pm", "mp", "kpm",
                                           "kmp", "pkm", "pmk", "mkp", "mpk"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace token_sampler
