// Estimates the work of a row from its request, before any of it is done.
//
// An estimate need not be exact: the batcher learns how fast the machine is, and interrupts a row
// that takes longer. It must not be far too low for anything that a caller can ask for.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_WORK_ESTIMATE_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_WORK_ESTIMATE_H_

#include <cstdint>
#include <unordered_map>

#include "sampler/sampler.h"
#include "sampler/verify_draft.h"

namespace token_sampler {

// Estimates in nanoseconds of one core of a server of 2025 (AMD EPYC with AVX-512), for rows that
// are hard for their filters. Estimates are never 0, and at most kMaxWork. Not thread-safe: use one
// per call, whose rows share profiles.
class WorkEstimator {
 public:
  static constexpr uint64_t kMaxWork = uint64_t{1} << 46;  // 20 hours

  // The work of sampling the row, if its values need no repair.
  uint64_t OfRow(const RowInput& row);

  // The work of sampling the row if its values need repair and the parameters allow it; otherwise
  // as OfRow.
  uint64_t OfRepairedRow(const RowInput& row);

  // The work of describing the row, whose every stage sorts it.
  uint64_t OfDescription(const RowInput& row);

  // The work of verifying all of a draft.
  uint64_t OfDraft(const DraftInput& draft);

 private:
  double OfBadWords(const SamplingParams& params);

  // The parameters of the last row, and the work per token of their stages: rows share parameters.
  const SamplingParams* stages_of_ = nullptr;
  double stages_ = 0;
  std::unordered_map<const SamplingParams*, double> bad_words_;
};

// An upper bound of how many numbers the row's result holds.
uint64_t MostValues(const RowInput& row);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_WORK_ESTIMATE_H_
