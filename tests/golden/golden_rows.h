// Makes the rows of the golden file. A few words name a row, and exact operations on Philox make
// it, so that any language and device can make it too; see README.md.

#ifndef TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_ROWS_H_
#define TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace token_sampler::testing {

// Names a row: "normal 1000 3 FLOAT32".
struct GoldenRowName {
  std::string shape;
  int64_t vocab = 0;
  uint32_t variant = 0;
  DataType dtype = DataType::kFloat32;
};

struct GoldenRow {
  InputKind kind = InputKind::kLogits;
  DataType dtype = DataType::kFloat32;
  int64_t vocab = 0;
  std::vector<uint8_t> bytes;  // vocab elements of dtype
};

// Makes the row with this name. Aborts on an unknown shape, or if FLOAT16 does not hold its values
// exactly.
GoldenRow MakeGoldenRow(const GoldenRowName& name);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_ROWS_H_
