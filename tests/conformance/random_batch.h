// Random batches that reach the corners of SPEC.md: every element type and kind, rows of many
// shapes, parameters alone and combined, and rows that must fail. A batch is a function of its
// seed.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace token_sampler::testing {

// One row and all that its RowInput points to.
struct RandomRow {
  std::vector<std::byte> storage;  // the values, at a random alignment
  size_t offset = 0;               // where they start
  SamplingParams params;
  OutputOptions outputs;
  std::vector<uint32_t> prompt_ids;
  std::vector<uint32_t> output_ids;     // in order, or those of the counts
  std::vector<uint32_t> output_counts;  // of as many, or empty
  RowHistory history;
  RowState state;
  std::vector<uint8_t> bitmask;
  RowInput input;
  std::string description;
};

struct RandomBatch {
  std::vector<std::unique_ptr<RandomRow>> rows;

  std::vector<RowInput> Inputs() const;
};

// Appends an element, truncated to what its type holds.
void AppendElement(double value, DataType dtype, std::vector<std::byte>& storage);

// `rows` rows of 1 .. max_vocab tokens, most of them short.
RandomBatch MakeRandomBatch(uint64_t seed, size_t rows, int64_t max_vocab);

// One row of exactly `vocab` tokens.
RandomBatch MakeRandomRow(uint64_t seed, int64_t vocab);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_
