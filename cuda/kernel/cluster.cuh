// The thread-block cluster that works on a row. Before sm_90 it is a single block.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_CLUSTER_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_CLUSTER_H_

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace token_sampler::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900

__device__ inline uint32_t ClusterRank() { return 0; }
__device__ inline uint32_t ClusterBlocks() { return 1; }
__device__ inline void ClusterSync() { __syncthreads(); }
__device__ inline void ClusterArrive() {}
__device__ inline void ClusterWait() {}
template <typename T>
__device__ T* OfRank(T* address, uint32_t) {
  return address;
}

#else

__device__ inline uint32_t ClusterRank() { return cooperative_groups::this_cluster().block_rank(); }
__device__ inline uint32_t ClusterBlocks() {
  return cooperative_groups::this_cluster().num_blocks();
}

// A barrier of all threads of the cluster. What they wrote to shared memory before is visible after
// it.
__device__ inline void ClusterSync() { cooperative_groups::this_cluster().sync(); }

// The halves of a barrier after which all blocks run. It does not order memory accesses. Skipped
// for a single block, which may have been launched without a cluster and then has no such barrier.
#if defined(__CUDACC__)
__device__ inline void ClusterArrive() {
  if (ClusterBlocks() > 1) asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void ClusterWait() {
  if (ClusterBlocks() > 1) asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}
#else
inline void ClusterArrive() { cooperative_groups::this_cluster().barrier_arrive(); }
inline void ClusterWait() { cooperative_groups::this_cluster().barrier_wait(); }
#endif

// Returns the address at which block `rank` has what this block has at `address` of its shared
// memory.
template <typename T>
__device__ T* OfRank(T* address, uint32_t rank) {
  return cooperative_groups::this_cluster().map_shared_rank(address, rank);
}

#endif

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_CLUSTER_H_
