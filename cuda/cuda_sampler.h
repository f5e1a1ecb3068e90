// The CUDA sampler, with the interface of sampler/sampler.h. Names no CUDA type, so that users need
// no CUDA header.

#ifndef TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
#define TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cuda/plan/host_row_policy.h"
#include "sampler/sampler.h"

namespace token_sampler {

struct CudaSamplerOptions {
  // Bytes of each of four buffers per device, in pinned memory and again on the device; > 0. The
  // CPU samples rows that are larger than a buffer.
  size_t buffer_bytes = size_t{32} << 20;

  // Decides which rows from the host the CPU samples; fallbacks() counts them as "host_rows".
  HostRowPolicy host_rows = {};

  int cpu_threads = 0;  // CpuSamplerOptions::threads of the CPU sampler

  // > 0: CreateCudaSampler() measures `host_rows` with rows of this many tokens, and reports the
  // result to `on_host_rows`. With 131,072 this takes some 0.1 s.
  size_t measured_vocab = 0;
  std::function<void(const HostRowPolicy&)> on_host_rows = nullptr;

  // Called once, with the reason, when a device cannot be used any more, on the thread that
  // noticed. Must not call the sampler.
  std::function<void(const absl::Status&)> on_lost = nullptr;

  // Called with each new reason of Sampler::fallbacks(), except "host_rows", on the thread that
  // samples.
  std::function<void(absl::string_view)> on_fallback = nullptr;
};

// Creates a sampler that uses all devices that answer, in turn. The tokens are those of the CPU
// sampler.
//
// - The CPU samples rows that ask for what the kernel does not support (outputs besides the tokens,
//   further filters, draws without replacement). fallbacks() counts them.
// - The CPU also samples rows that failed on the device, to report their errors. fallbacks() counts
//   those that it can draw from, as "values": their owner changed them meanwhile.
// - Sample() is Internal when a CUDA call fails: only for that batch, or for every later one if the
//   device is lost.
//
// A device that refuses the memory is left out, and device() states why. FailedPrecondition when
// this build has no CUDA, or no device or driver answers; Internal when every device was left out.
absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler(const CudaSamplerOptions& options = {});

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
