#include <cooperative_groups.h>

#include "tests/simt/test_kernels.h"

namespace simt_test {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr unsigned kWarps = kThreads / 32;

#if defined(__CUDACC__)
__device__ unsigned* SharedWords() {
  extern __shared__ unsigned words[];
  return words;
}
#else
unsigned* SharedWords() { return static_cast<unsigned*>(simt::DynamicSharedMemory()); }
#endif

__device__ unsigned ScanInWarp(unsigned value) {
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const unsigned before = __shfl_up_sync(kAllLanes, value, distance);
    if (threadIdx.x % 32 >= distance) value += before;
  }
  return value;
}

__global__ void Scan(const unsigned* values, unsigned* sums) {
  unsigned* const warp_sums = SharedWords();
  const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned sum = ScanInWarp(values[index]);
  if (threadIdx.x % 32 == 31) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  for (unsigned warp = 0; warp < threadIdx.x / 32; ++warp) sum += warp_sums[warp];
  sums[index] = sum;
}

__global__ void Histogram(const unsigned* values, unsigned count, unsigned* bins) {
  unsigned* const counts = SharedWords();
  const auto cluster = cooperative_groups::this_cluster();
  for (unsigned bin = threadIdx.x; bin < kBins; bin += kThreads) counts[bin] = 0;
  __syncthreads();
  const unsigned stride = cluster.num_blocks() * kThreads;
  for (unsigned i = cluster.block_rank() * kThreads + threadIdx.x; i < count; i += stride) {
    atomicAdd(&counts[values[i] % kBins], 1u);
  }
  cluster.sync();
  if (cluster.block_rank() == 0) {
    for (unsigned bin = threadIdx.x; bin < kBins; bin += kThreads) {
      unsigned sum = 0;
      for (unsigned rank = 0; rank < cluster.num_blocks(); ++rank) {
        sum += *cluster.map_shared_rank(&counts[bin], rank);
      }
      bins[bin] = sum;
    }
  }
  // The other blocks' shared memory must exist until it was read.
  cluster.sync();
}

__global__ void KeepOdd(const unsigned* values, unsigned* odd, unsigned* count) {
  unsigned* const warp_counts = SharedWords();
  const unsigned value = values[threadIdx.x];
  const unsigned lane = threadIdx.x % 32;
  const unsigned ballot = __ballot_sync(kAllLanes, static_cast<int>(value % 2));
  if (lane == 0) warp_counts[threadIdx.x / 32] = static_cast<unsigned>(__popc(ballot));
  const int total = __syncthreads_count(static_cast<int>(value % 2));
  unsigned position = static_cast<unsigned>(__popc(ballot & ((1u << lane) - 1)));
  for (unsigned warp = 0; warp < threadIdx.x / 32; ++warp) position += warp_counts[warp];
  if (value % 2 == 1) odd[position] = value;
  if (threadIdx.x == 0) *count = static_cast<unsigned>(total);
}

__global__ void Nothing() {}

__global__ void Hang() {
  if (threadIdx.x > 0) __syncthreads();
}

cudaLaunchConfig_t Config(unsigned blocks, size_t shared_words, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = shared_words * sizeof(unsigned);
  config.stream = stream;
  return config;
}

}  // namespace

cudaError_t LaunchScan(const unsigned* values, unsigned* sums, unsigned blocks,
                       cudaStream_t stream) {
  const cudaLaunchConfig_t config = Config(blocks, kWarps, stream);
  return cudaLaunchKernelEx(&config, Scan, values, sums);
}

cudaError_t LaunchHistogram(const unsigned* values, unsigned count, unsigned* bins,
                            unsigned cluster, cudaStream_t stream) {
  cudaLaunchConfig_t config = Config(cluster, kBins, stream);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {cluster, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, Histogram, values, count, bins);
}

cudaError_t LaunchKeepOdd(const unsigned* values, unsigned* odd, unsigned* count,
                          cudaStream_t stream) {
  const cudaLaunchConfig_t config = Config(1, kWarps, stream);
  return cudaLaunchKernelEx(&config, KeepOdd, values, odd, count);
}

cudaError_t AllowShared(unsigned shared_bytes) {
  return cudaFuncSetAttribute(Nothing, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared_bytes));
}

cudaError_t LaunchNothing(unsigned shared_bytes, cudaStream_t stream) {
  const cudaLaunchConfig_t config = Config(1, shared_bytes / sizeof(unsigned), stream);
  return cudaLaunchKernelEx(&config, Nothing);
}

cudaError_t LaunchHang(cudaStream_t stream) {
  const cudaLaunchConfig_t config = Config(1, 0, stream);
  return cudaLaunchKernelEx(&config, Hang);
}

}  // namespace simt_test
