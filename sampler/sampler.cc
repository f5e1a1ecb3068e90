#include "sampler/sampler.h"

namespace token_sampler {

void RowResult::Clear() {
  code = RowCode::kOk;
  message.clear();
  token_ids.clear();
  logprobs.clear();
  top_token_ids.clear();
  top_logprobs.clear();
  ranks.clear();
  kept_count = 0;
  kept_token_ids.clear();
  kept_logprobs.clear();
  max_probability = 0.0;
  min_probability = 0.0;
  entropy = 0.0;
  gumbel_softmax.clear();
  weighed_ids.clear();
  weights.clear();
  greedy = false;
  state = RowState();
}

}  // namespace token_sampler
