// A token of a row that can still be drawn.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_H_

#include <cstdint>

namespace token_sampler {

struct Token {
  uint32_t id;
  float value;      // logit or plain weight
  uint64_t weight;  // its mass: SPEC.md §4
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_TOKEN_H_
