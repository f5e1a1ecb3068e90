#include "sampler/sampler.h"

#include <algorithm>

namespace token_sampler {

RowSize SizeOf(const RowInput& row) {
  const SamplingParams& params = *row.params;
  const auto vocab = static_cast<uint64_t>(row.vocab);
  const bool is_bounded = params.top_k > 0 && params.top_k_ties == TiePolicy::kExactlyK;
  const uint64_t most = std::max(params.top_k, params.min_tokens_to_keep);
  return {params.num_samples, vocab, is_bounded ? std::min(vocab, most) : vocab};
}

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
