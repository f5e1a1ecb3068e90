// Decides which rows from the host are sampled on the CPU, because that takes less time than
// copying them to the device and sampling them there. The tokens are the same.

#ifndef TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_POLICY_H_
#define TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_POLICY_H_

#include <cstddef>
#include <cstdint>

#include "sampler/params/sampling_params.h"

namespace token_sampler {

// The kind of work that decides how long the CPU takes for a row.
enum class RowWork : uint8_t { kTopK, kMinP, kTopP, kUnfiltered };
inline constexpr size_t kRowWorks = 4;

// The work of a row that the kernel takes.
inline RowWork WorkOf(const SamplingParams& params) {
  if (params.top_k != 0 || params.temperature == 0.0) return RowWork::kTopK;
  if (params.min_p > 0.0) return RowWork::kMinP;
  return params.top_p < 1.0 ? RowWork::kTopP : RowWork::kUnfiltered;
}

// The rows of one kind of work in one call.
struct HostRows {
  size_t tokens = 0;  // of all rows
  size_t bytes = 0;   // of their values
};

// The seconds that a call takes: a fixed part, and a part for each unit in its rows.
struct CallCost {
  double fixed = 0.0;
  double per_unit = 0.0;

  constexpr double Of(size_t units) const { return fixed + per_unit * static_cast<double>(units); }
};

// The costs of each kind of work on both sides. If both are equal, as they are before anything is
// measured, rows go to the device.
struct HostRowPolicy {
  struct Costs {
    CallCost cpu;     // per token
    CallCost device;  // per byte, which has to be copied there
  };
  Costs costs[kRowWorks] = {};

  constexpr bool ForCpu(RowWork work, HostRows rows) const {
    const Costs& of = costs[static_cast<size_t>(work)];
    return of.cpu.Of(rows.tokens) < of.device.Of(rows.bytes);
  }
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_PLAN_HOST_ROW_POLICY_H_
