#include "tests/gpu/weight_checksum.h"

namespace token_sampler::testing {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 1024;

__device__ float FloatOf(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

__global__ void AddChecksum(WeightScale scale, uint32_t first, uint32_t last,
                            unsigned long long* sum) {
  uint64_t own = 0;
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t bits = first + uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; bits <= last;
       bits += stride) {
    own += LogitWeight(FloatOf(static_cast<uint32_t>(bits)), scale) * (2 * bits + 1);
  }
  atomicAdd(sum, static_cast<unsigned long long>(own));
}

}  // namespace

cudaError_t LaunchWeightChecksum(WeightScale scale, uint32_t first, uint32_t last,
                                 unsigned long long* sum, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  const uint64_t blocks = (uint64_t{last} - first) / kThreads + 1;
  config.gridDim = dim3(blocks < kBlocks ? static_cast<unsigned>(blocks) : kBlocks);
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, AddChecksum, scale, first, last, sum);
}

}  // namespace token_sampler::testing
