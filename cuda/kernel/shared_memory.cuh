// The dynamic shared memory of a block.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_SHARED_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_SHARED_MEMORY_H_

#include <cuda_runtime.h>

namespace token_sampler::cuda {

#if defined(__CUDACC__)
__device__ inline void* DynamicSharedMemory() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return bytes;
}
#else
inline void* DynamicSharedMemory() { return simt::DynamicSharedMemory(); }
#endif

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_SHARED_MEMORY_H_
