// Which rows from the host are sampled on the CPU, because they are done there before they would
// reach the device. The tokens are the same: it is a question of time alone.

#ifndef TOKEN_SAMPLER_CUDA_HOST_ROW_POLICY_H_
#define TOKEN_SAMPLER_CUDA_HOST_ROW_POLICY_H_

#include <cstddef>
#include <cstdint>

#include "sampler/sampling_params.h"

namespace token_sampler {

// What decides how long the CPU takes for a row.
enum class RowWork : uint8_t { kTopK, kMinP, kTopP, kUnfiltered };
inline constexpr size_t kRowWorks = 4;

// Of a row that the kernel takes.
inline RowWork WorkOf(const SamplingParams& params) {
  if (params.top_k != 0 || params.temperature == 0.0) return RowWork::kTopK;
  if (params.min_p > 0.0) return RowWork::kMinP;
  return params.top_p < 1.0 ? RowWork::kTopP : RowWork::kUnfiltered;
}

// Per kind of work, how many bytes of one call's rows the CPU is given; calls with more go to the
// device, and with 0 all do.
struct HostRowPolicy {
  size_t most_bytes[kRowWorks] = {};

  constexpr bool ForCpu(RowWork work, size_t bytes) const {
    return bytes <= most_bytes[static_cast<size_t>(work)];
  }
};

// The only place for what is measured: where the copy to the device and the launch take longer than
// the CPU sampler. Nothing has been measured on a GPU yet, so every row goes there.
inline constexpr HostRowPolicy kMeasuredHostRowPolicy = {};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_HOST_ROW_POLICY_H_
