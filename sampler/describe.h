// A row's distribution before and after each stage: for people who want to see what their
// parameters do, and for debugging.

#ifndef TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_
#define TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace token_sampler {

struct StageView {
  std::string
      stage;  // "input", "adjusted", then "temperature", "top_k" ... of the stages that are on
  uint32_t kept_count = 0;
  double entropy = 0.0;  // nats
  double max_probability = 0.0;
  double min_probability = 0.0;                // of the tokens with a weight
  std::vector<uint32_t> top_token_ids = {};    // [min(top_n, kept_count)], likeliest first
  std::vector<double> top_probabilities = {};  // as many
  double removed_mass = 0.0;  // probability that this stage took away, by the view before it
};

// The views of a row, up to the one in which it becomes greedy. No draw is made. When the row
// fails, `result` says why and there are none; a row that was repaired says so there too.
std::vector<StageView> DescribeRow(const RowInput& row, uint32_t top_n, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_DESCRIBE_H_
