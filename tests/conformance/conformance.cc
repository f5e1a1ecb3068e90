#include "tests/conformance/conformance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "tests/conformance/row_difference.h"
#include "tests/testing/memory_source.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler::testing {

void ExpectSameAsReference(const RandomBatch& batch, Sampler& sampler) {
  const std::vector<RowInput> inputs = batch.Inputs();
  std::vector<RowResult> expected(inputs.size());
  std::vector<RowResult> actual(inputs.size());
  ASSERT_TRUE(CreateReferenceSampler()->Sample(inputs, absl::MakeSpan(expected)).ok());
  // Give every second row as one that is read from a source, at an offset.
  std::deque<MemorySource> sources;
  std::vector<RowInput> given = inputs;
  for (size_t i = 0; i < given.size(); i += 2) {
    sources.emplace_back(inputs[i].values, 64 * i);
    given[i] = sources.back().Row(inputs[i]);
  }
  ASSERT_TRUE(sampler.Sample(given, absl::MakeSpan(actual)).ok());
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(batch.rows[i]->description);
    const absl::Status valid =
        ValidateParams(*inputs[i].params, inputs[i].kind, inputs[i].vocab, {});
    ASSERT_TRUE(valid.ok()) << valid;
    ASSERT_EQ(RowDifference(actual[i], expected[i]), "");
  }
}

int ConformanceScale() {
  const char* scale = std::getenv("TOKEN_SAMPLER_CONFORMANCE_SCALE");
  return scale == nullptr ? 1 : std::max(1, std::stoi(scale));
}

int RandomCases(int usual) {
  return std::max(1, usual * ConformanceScale() / (kSanitized ? 6 : 1));
}

}  // namespace token_sampler::testing
