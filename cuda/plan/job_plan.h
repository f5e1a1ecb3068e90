// Decides which rows the kernel takes, and prepares their jobs.

#ifndef TOKEN_SAMPLER_CUDA_PLAN_JOB_PLAN_H_
#define TOKEN_SAMPLER_CUDA_PLAN_JOB_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "cuda/kernel/row_job.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/token_set.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// The most draws per row that the kernel makes. The CPU samples rows with more.
inline constexpr uint32_t kMaxDrawsPerRow = 1024;

// The name of a stage or field of the row that the kernel does not support; empty when the kernel
// takes the row. The kernel supports temperature (also scheduled), min-p, top-k, top-p, and the
// latter two jointly, in any order; one draw, or several with replacement; every adjustment; no
// outputs but the tokens, no state and no repairs.
absl::string_view WhyNotKernel(const RowInput& row);

// The job of a row that the kernel takes. The caller sets its `values`, `mask`, `edits`,
// `num_edits` and `first_token`.
RowJob PlanJob(const RowInput& row);

// The number of 32-bit words of the mask of a row's allowed tokens; 0 when all tokens are allowed.
size_t MaskWords(const RowInput& row);

// Writes the mask, of MaskWords(row) words.
void WriteMask(const RowInput& row, uint32_t* words);

// Lists the edits of a row's tokens. Reuses its memory from row to row.
class EditLister {
 public:
  // The edits of a row that the kernel takes. Valid until the next call.
  const std::vector<TokenEdit>& List(const RowInput& row);

 private:
  TokenEdit& Of(uint32_t token);
  void AddPenalties(const SamplingParams& params);

  AdjustmentLists lists_;
  TokenSet edited_;
  std::vector<uint32_t> place_of_;  // per token; valid for those in edited_
  std::vector<TokenEdit> edits_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_PLAN_JOB_PLAN_H_
