// Measures where rows from the host are sampled faster. This depends on the bus, the memory and
// both processors, so no fixed table can tell.

#ifndef TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_TRIAL_H_
#define TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_TRIAL_H_

#include <cstddef>
#include <functional>

#include "absl/status/statusor.h"
#include "cuda/plan/host_row_policy.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// Lets both samplers sample the same rows of `vocab` FP32 logits, 1 and 16 at a time, for each kind
// of work, and computes costs from the medians. `seconds` is a clock. The errors of the samplers.
absl::StatusOr<HostRowPolicy> TryHostRows(Sampler& cpu, Sampler& device, size_t vocab,
                                          const std::function<double()>& seconds);

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_TRIAL_H_
