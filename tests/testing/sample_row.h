// Samples one row with any sampler, for tests that look at one row at a time.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_SAMPLE_ROW_H_
#define TOKEN_SAMPLER_TESTS_TESTING_SAMPLE_ROW_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "sampler/sampler.h"

namespace token_sampler::testing {

inline RowInput LogitRow(const std::vector<float>& values, const SamplingParams& params,
                         RowKey key = {}) {
  RowInput row;
  row.values = values.data();
  row.vocab = static_cast<int64_t>(values.size());
  row.params = &params;
  row.key = key;
  return row;
}

inline RowInput WeightRow(const std::vector<float>& values, const SamplingParams& params,
                          RowKey key = {}) {
  RowInput row = LogitRow(values, params, key);
  row.kind = InputKind::kWeights;
  return row;
}

// Checks the parameters, as every caller of a sampler must, and samples.
inline RowResult SampleRow(const RowInput& row, Sampler* sampler = nullptr) {
  EXPECT_TRUE(ValidateParams(*row.params, row.kind, row.vocab, {}).ok());
  const std::unique_ptr<Sampler> reference = CreateReferenceSampler();
  if (sampler == nullptr) sampler = reference.get();
  RowResult result;
  EXPECT_TRUE(sampler->Sample(absl::MakeSpan(&row, 1), absl::MakeSpan(&result, 1)).ok());
  return result;
}

// Token id -> probability of every token that the filters keep.
inline std::map<uint32_t, double> KeptProbabilities(RowInput row, Sampler* sampler = nullptr) {
  OutputOptions outputs;
  outputs.top_logprobs = static_cast<uint32_t>(row.vocab);
  outputs.logprob_mode = LogprobMode::kProcessed;
  row.outputs = &outputs;
  const RowResult result = SampleRow(row, sampler);
  EXPECT_EQ(result.code, RowCode::kOk) << result.message;
  std::map<uint32_t, double> kept;
  for (size_t i = 0; i < result.top_token_ids.size(); ++i) {
    kept[result.top_token_ids[i]] = std::exp(double{result.top_logprobs[i]});
  }
  return kept;
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_SAMPLE_ROW_H_
