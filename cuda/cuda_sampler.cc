#include "cuda/cuda_sampler.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"

namespace token_sampler {

absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("no CUDA device answers: ", cudaGetErrorString(error)));
  }
  if (count == 0) return absl::FailedPreconditionError("no CUDA device answers: none found");
  return absl::UnimplementedError("this version has no CUDA kernels yet");
}

}  // namespace token_sampler
