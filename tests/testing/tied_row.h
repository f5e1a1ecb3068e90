// Rows for testing properties that must hold for any row.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_TIED_ROW_H_
#define TOKEN_SAMPLER_TESTS_TESTING_TIED_ROW_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "sampler/arithmetic/philox.h"

namespace token_sampler::testing {

// 60 to 66 logits with many ties, in three scales, a third of them masked in every fifth variant.
// They are multiples of 1/64, so that moving them by 1000 is exact.
inline std::vector<float> TiedRow(uint32_t variant) {
  std::vector<float> row(60 + variant % 7);
  for (uint32_t id = 0; id < row.size(); ++id) {
    const PhiloxBlock block = Philox4x32({{id, variant, 0, 0}}, 1, 2);
    const double uniform = (block.word[0] + .5) * 0x1p-32;
    row[id] = static_cast<float>(std::floor(-128 * std::log(uniform)) / 64 * (1 + variant % 3));
    if (variant % 5 == 4 && block.word[1] % 3 == 0) {
      row[id] = -std::numeric_limits<float>::infinity();
    }
  }
  return row;
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_TIED_ROW_H_
