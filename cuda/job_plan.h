// Which rows the kernel takes, and what it is told of them.

#ifndef TOKEN_SAMPLER_CUDA_JOB_PLAN_H_
#define TOKEN_SAMPLER_CUDA_JOB_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "cuda/kernel/row_job.h"
#include "sampler/adjustments.h"
#include "sampler/sampler.h"
#include "sampler/token_set.h"

namespace token_sampler::cuda {

// Draws per row that the kernel makes; rows with more are the CPU sampler's.
inline constexpr uint32_t kMaxDrawsPerRow = 1024;

// What the row asks for that the kernel does not do, by the name of its stage or field; empty when
// the kernel takes the row. It does temperature (also scheduled), min-p, top-k, top-p and both
// jointly in any order; one draw, or several with replacement; every adjustment; no outputs but the
// tokens, no state, no repairs.
absl::string_view WhyNotKernel(const RowInput& row);

// The job of a row that the kernel takes. Its `values`, `mask`, `edits`, `num_edits` and
// `first_token` are left to the caller.
RowJob PlanJob(const RowInput& row);

// 32-bit words of the mask of a row's allowed tokens; 0 when all are.
size_t MaskWords(const RowInput& row);

// Writes them.
void WriteMask(const RowInput& row, uint32_t* words);

// Lists the edits of rows. Reuses its memory from row to row.
class EditLister {
 public:
  // Of a row that the kernel takes; holds until the next call.
  const std::vector<TokenEdit>& List(const RowInput& row);

 private:
  TokenEdit& Of(uint32_t token);
  void AddPenalties(const SamplingParams& params);

  AdjustmentLists lists_;
  TokenSet edited_;
  std::vector<uint32_t> place_of_;  // per token; those of edited_ mean something
  std::vector<TokenEdit> edits_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_JOB_PLAN_H_
