// Which rows the kernel takes, and what it is told of them.

#ifndef TOKEN_SAMPLER_CUDA_JOB_PLAN_H_
#define TOKEN_SAMPLER_CUDA_JOB_PLAN_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "cuda/row_job.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// Draws per row that the kernel makes; rows with more are the CPU sampler's.
inline constexpr uint32_t kMaxDrawsPerRow = 1024;

// What the row asks for that the kernel does not do, by the name of its stage or field; empty when
// the kernel takes the row. It does temperature (also scheduled), min-p, top-k, top-p and both
// jointly in any order; one draw, or several with replacement; no outputs but the tokens, no
// adjustments, no state, no repairs.
absl::string_view WhyNotKernel(const RowInput& row);

// The job of a row that the kernel takes. Its `values` and `first_token` are left to the caller.
RowJob PlanJob(const RowInput& row);

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_JOB_PLAN_H_
