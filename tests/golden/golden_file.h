// The golden file: one line per case, `row | parameters | seed step stream | tokens`. README.md has
// the format.

#ifndef TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_FILE_H_
#define TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_FILE_H_

#include <string>
#include <vector>

#include "sampler/sampler.h"
#include "tests/golden/golden_rows.h"

namespace token_sampler::testing {

struct GoldenCase {
  GoldenRowName row;
  SamplingParams params;
  RowKey key;
  std::vector<uint32_t> token_ids;
};

// Formats or parses a line without its end. Aborts on a case that does not fit the format.
std::string FormatGoldenCase(const GoldenCase& golden);
GoldenCase ParseGoldenCase(const std::string& line);

// Reads a file, in which lines that begin with '#' are comments. Aborts if there is no such file.
std::vector<GoldenCase> ReadGoldenFile(const std::string& path);

// Samples all cases and returns the tokens of each, in their order. Makes each row once and samples
// its cases as one batch.
std::vector<std::vector<uint32_t>> SampleGoldenCases(const std::vector<GoldenCase>& cases,
                                                     Sampler& sampler);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_FILE_H_
