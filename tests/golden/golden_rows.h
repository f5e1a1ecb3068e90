// The rows of the golden file. A row is named by a few words and made from Philox by exact
// operations, so that any language and device can make it again; see README.md.

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

// Shapes and which element types can hold them. Aborts on a name that is not one of them.
GoldenRow MakeGoldenRow(const GoldenRowName& name);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GOLDEN_GOLDEN_ROWS_H_
