// Describes a row's distribution before and after each stage, for debugging and for people who want
// to see the effect of their parameters.

#ifndef TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_
#define TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace token_sampler {

struct StageView {
  std::string
      stage;  // "input", "adjusted", then the stages that are on: "temperature", "top_k" ...
  uint32_t kept_count = 0;
  double entropy = 0.0;  // nats
  double max_probability = 0.0;
  double min_probability = 0.0;                // of the tokens with a weight
  std::vector<uint32_t> top_token_ids = {};    // [min(top_n, kept_count)], likeliest first
  std::vector<double> top_probabilities = {};  // of these tokens
  double removed_mass = 0.0;  // removed by this stage, as a probability in the view before it
};

// Returns the views of a row, up to the one in which it becomes greedy, without a draw. If the row
// fails, returns none and sets `result` to the reason; `result` also reports repaired values.
std::vector<StageView> DescribeRow(const RowInput& row, uint32_t top_n, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_
