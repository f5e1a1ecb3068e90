#include "tests/conformance/conformance.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <string>
#include <vector>

#include "sampler/reference_sampler.h"

namespace token_sampler::testing {
namespace {

// As bits: -0 and 0 differ, and NaN is itself.
std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

}  // namespace

void ExpectSameAsReference(const RandomBatch& batch, Sampler& sampler) {
  const std::vector<RowInput> inputs = batch.Inputs();
  std::vector<RowResult> expected(inputs.size());
  std::vector<RowResult> actual(inputs.size());
  ASSERT_TRUE(CreateReferenceSampler()->Sample(inputs, absl::MakeSpan(expected)).ok());
  ASSERT_TRUE(sampler.Sample(inputs, absl::MakeSpan(actual)).ok());
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(batch.rows[i]->description);
    const absl::Status valid =
        ValidateParams(*inputs[i].params, inputs[i].kind, inputs[i].vocab, {});
    ASSERT_TRUE(valid.ok()) << valid;
    ASSERT_EQ(actual[i].code, expected[i].code) << expected[i].message;
    ASSERT_EQ(actual[i].message, expected[i].message);
    ASSERT_EQ(actual[i].token_ids, expected[i].token_ids);
    ASSERT_EQ(Bits(actual[i].logprobs), Bits(expected[i].logprobs));
    ASSERT_EQ(actual[i].top_token_ids, expected[i].top_token_ids);
    ASSERT_EQ(Bits(actual[i].top_logprobs), Bits(expected[i].top_logprobs));
    ASSERT_EQ(actual[i].ranks, expected[i].ranks);
    ASSERT_EQ(actual[i].kept_count, expected[i].kept_count);
    ASSERT_EQ(actual[i].kept_token_ids, expected[i].kept_token_ids);
    ASSERT_EQ(Bits(actual[i].kept_logprobs), Bits(expected[i].kept_logprobs));
    ASSERT_EQ(actual[i].max_probability, expected[i].max_probability);
    ASSERT_EQ(actual[i].min_probability, expected[i].min_probability);
    ASSERT_EQ(actual[i].entropy, expected[i].entropy);
    ASSERT_EQ(Bits(actual[i].gumbel_softmax), Bits(expected[i].gumbel_softmax));
    ASSERT_EQ(actual[i].state.mirostat_mu, expected[i].state.mirostat_mu);
    ASSERT_EQ(actual[i].state.adaptive_p_sum, expected[i].state.adaptive_p_sum);
    ASSERT_EQ(actual[i].state.adaptive_p_weight, expected[i].state.adaptive_p_weight);
    ASSERT_EQ(actual[i].state.top_p, expected[i].state.top_p);
  }
}

int ConformanceScale() {
  const char* scale = std::getenv("TOKEN_SAMPLER_CONFORMANCE_SCALE");
  return scale == nullptr ? 1 : std::max(1, std::stoi(scale));
}

}  // namespace token_sampler::testing
