// The CUDA sampler, behind the interface of sampler/sampler.h. Names no CUDA type, so that whoever
// creates one needs no CUDA header.

#ifndef TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
#define TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cuda/host_row_policy.h"
#include "sampler/sampler.h"

namespace token_sampler {

struct CudaSamplerOptions {
  // Pinned memory, and as much on the device, of each of four buffers per device; > 0. A row that
  // is larger than one is sampled by the CPU.
  size_t buffer_bytes = size_t{32} << 20;

  // Rows from the host that are sampled on the CPU, counted by fallbacks() as "host_rows".
  HostRowPolicy host_rows = {};

  int cpu_threads = 0;  // CpuSamplerOptions::threads of the CPU sampler

  // > 0: `host_rows` is measured as the sampler is made, with rows of so many tokens, and told;
  // with 131,072 that takes some 0.1 s.
  size_t measured_vocab = 0;
  std::function<void(const HostRowPolicy&)> on_host_rows = nullptr;

  // Called once, with why, when a device cannot be used any more, on the thread that noticed. Must
  // not call the sampler.
  std::function<void(const absl::Status&)> on_lost = nullptr;

  // Called with each new reason of Sampler::fallbacks() but "host_rows", on the thread that
  // samples.
  std::function<void(absl::string_view)> on_fallback = nullptr;
};

// Samples on every device that answers, calls in turn. Rows with what its kernel does not do
// (outputs beside the tokens, further filters, draws without replacement) are the CPU sampler's,
// and counted by fallbacks(), and so are rows that fail, uncounted, unless the CPU can draw from
// them ("values": their owner changed them meanwhile); the tokens are the same. Sample is Internal
// when a CUDA call failed: for that batch alone, or, when the device is lost, for every later one.
//
// A device that refuses the memory is left out, and device() says why. FailedPrecondition when this
// build has no CUDA, or no device or driver answers; Internal when every device was left out.
absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler(const CudaSamplerOptions& options = {});

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
