// Makes random batches that reach the corner cases of SPEC.md: every element type and kind, rows of
// many shapes, single parameters and combinations, and rows that must fail. A batch depends only on
// its seed.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace token_sampler::testing {

// A row and everything to which its RowInput points.
struct RandomRow {
  std::vector<std::byte> storage;  // the values, at a random alignment
  size_t offset = 0;               // of the values in it
  SamplingParams params;
  OutputOptions outputs;
  std::vector<uint32_t> prompt_ids;
  std::vector<uint32_t> output_ids;     // in order, or the ids of the counts
  std::vector<uint32_t> output_counts;  // of output_ids, or empty
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

// Appends an element, truncated to its type.
void AppendElement(double value, DataType dtype, std::vector<std::byte>& storage);

// Makes `rows` rows of 1 .. max_vocab tokens, most of them short.
RandomBatch MakeRandomBatch(uint64_t seed, size_t rows, int64_t max_vocab);

// Makes one row of exactly `vocab` tokens.
RandomBatch MakeRandomRow(uint64_t seed, int64_t vocab);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_BATCH_H_
