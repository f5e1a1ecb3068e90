// The CUDA sampler, behind the interface of sampler/sampler.h. Names no CUDA type, so that whoever
// creates one needs no CUDA header.

#ifndef TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
#define TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"

namespace token_sampler {

// FailedPrecondition when this build has no CUDA, or no device or driver answers; Unimplemented
// when one does, because this version has no kernels yet.
absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_CUDA_SAMPLER_H_
