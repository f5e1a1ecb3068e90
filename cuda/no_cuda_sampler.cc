// Replaces cuda_sampler.cc, ipc_memory.cc and pinned_memory.cc in a build without CUDA.

#include "cuda/cuda_sampler.h"
#include "cuda/memory/ipc_memory.h"
#include "cuda/memory/pinned_memory.h"

namespace token_sampler {

absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler(const CudaSamplerOptions&) {
  return absl::FailedPreconditionError("this build has no CUDA sampler");
}

absl::StatusOr<std::unique_ptr<IpcMemory>> IpcMemory::Open(uint32_t, absl::string_view,
                                                           absl::string_view, const IpcRange&) {
  return absl::FailedPreconditionError("this build has no CUDA sampler");
}

bool PinnedMemory::TakesReadOnly() { return false; }

absl::StatusOr<std::unique_ptr<PinnedMemory>> PinnedMemory::Pin(const char*, size_t, bool) {
  return absl::FailedPreconditionError("this build has no CUDA sampler");
}

}  // namespace token_sampler
