#include "sampler/sampler.h"

namespace token_sampler {

void RowResult::Clear() {
  code = RowCode::kOk;
  message.clear();
  token_ids.clear();
  logprobs.clear();
  top_token_ids.clear();
  top_logprobs.clear();
}

}  // namespace token_sampler
