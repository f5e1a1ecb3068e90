// Stands in for cuda_sampler.cc in a build without CUDA.

#include "cuda/cuda_sampler.h"

namespace token_sampler {

absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler(const CudaSamplerOptions&) {
  return absl::FailedPreconditionError("this build has no CUDA sampler");
}

}  // namespace token_sampler
