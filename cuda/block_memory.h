// What a block keeps in shared memory beside its part of the row, and sums, maxima and scans by all
// threads of a block or cluster. All values are integers, so no order of operations shows.

#ifndef TOKEN_SAMPLER_CUDA_BLOCK_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_BLOCK_MEMORY_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "cuda/binning.h"
#include "cuda/cluster.h"
#include "cuda/row_job.h"

namespace token_sampler::cuda {

inline constexpr uint32_t kWarp = 32;
inline constexpr uint32_t kThreads = 512;
inline constexpr uint32_t kWarps = kThreads / kWarp;
inline constexpr uint32_t kMaxListed = kThreads;  // one token per thread
inline constexpr uint32_t kMaxClusterBlocks = 16;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

// A number of tokens and what they weigh.
struct Portion {
  uint32_t count;
  uint64_t mass;
};

// The bin in which a prefix of the order ends.
struct FoundBin {
  uint32_t bin;
  Portion before;  // the tokens of the bins before it
  Portion inside;
};

// How far the end of a prefix has been found.
struct Narrowing {
  Binning binning;  // of the keys among which it is
  Portion before;   // the tokens before those
  uint64_t target;  // tokens or mass of the prefix
};

struct alignas(16) BlockMemory {
  RowJob job;
  double plain_scale;           // of plain weights, once their largest is known
  uint64_t listed[kMaxListed];  // order keys; those of rank 0 are written by all blocks
  uint64_t copied[kMaxListed];  // this block's copy of them
  uint64_t sorted[kMaxListed];
  uint64_t warp_values[kWarps];
  Portion exchanged[2];  // used in turn: one is written while the other may still be read
  Portion block_total;
  Narrowing narrowing;
  FoundBin found;
  uint32_t num_listed;
  uint32_t counts[kBins];
  uint32_t mass_low[kBins];  // halves, because the hardware has no 64-bit atomics in shared memory
  uint32_t mass_high[kBins];
};

__device__ inline uint32_t Lane() { return threadIdx.x % kWarp; }
__device__ inline uint32_t WarpOfThread() { return threadIdx.x / kWarp; }

// Copies a job from device memory.
__device__ inline const RowJob& CopyJob(const RowJob& job, BlockMemory& memory) {
  constexpr uint32_t kWord = sizeof(uint64_t);
  static_assert(sizeof(RowJob) % kWord == 0 && sizeof(RowJob) / kWord <= kThreads);
  if (threadIdx.x < sizeof(RowJob) / kWord) {
    const char* const from = reinterpret_cast<const char*>(&job) + threadIdx.x * kWord;
    char* const to = reinterpret_cast<char*>(&memory.job) + threadIdx.x * kWord;
    memcpy(__builtin_assume_aligned(to, kWord), __builtin_assume_aligned(from, kWord), kWord);
  }
  __syncthreads();
  return memory.job;
}

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};
struct Min {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a < b ? a : b; }
};

// Every lane gets the result.
template <typename T, typename Op>
__device__ T WarpReduce(T value, Op op) {
  for (uint32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    value = op(value, __shfl_xor_sync(kAllLanes, value, static_cast<int>(distance)));
  }
  return value;
}

// Every thread gets the result. A barrier stands between its use of warp_values and the next one's.
template <typename Op>
__device__ uint64_t BlockReduce(BlockMemory& memory, uint64_t value, Op op) {
  value = WarpReduce(value, op);
  __syncthreads();
  if (Lane() == 0) memory.warp_values[WarpOfThread()] = value;
  __syncthreads();
  value = memory.warp_values[0];
  for (uint32_t warp = 1; warp < kWarps; ++warp) value = op(value, memory.warp_values[warp]);
  return value;
}

// Makes a value of each block known to the whole cluster at the price of one barrier.
class Exchange {
 public:
  __device__ explicit Exchange(BlockMemory& memory) : memory_(memory) {}

  // `value` is the same in all threads of the block.
  __device__ void Publish(Portion value) {
    turn_ ^= 1;
    if (threadIdx.x == 0) memory_.exchanged[turn_] = value;
    ClusterSync();
  }
  __device__ Portion Of(uint32_t rank) const { return *OfRank(&memory_.exchanged[turn_], rank); }

  // No block reads the memory of others but rank 0's from now on.
  __device__ void End() { turn_ |= kOver; }
  __device__ bool is_over() const { return turn_ >= kOver; }

  // The sums of what the blocks before this one published, and of all. By whole warps, a lane per
  // block.
  __device__ void Sums(Portion& before, Portion& total) const {
    const Portion own = Lane() < ClusterBlocks() ? Of(Lane()) : Portion{0, 0};
    const Portion lower = Lane() < ClusterRank() ? own : Portion{0, 0};
    before = {WarpReduce(lower.count, Sum()), WarpReduce(lower.mass, Sum())};
    total = {WarpReduce(own.count, Sum()), WarpReduce(own.mass, Sum())};
  }

 private:
  // One number for both, for registers are few.
  static constexpr uint32_t kOver = 2;

  BlockMemory& memory_;
  uint32_t turn_ = 0;
};

// `op` may get a value more than once.
template <typename Op>
__device__ uint64_t ClusterReduce(BlockMemory& memory, Exchange& exchange, uint64_t value, Op op) {
  exchange.Publish({0, BlockReduce(memory, value, op)});
  return WarpReduce(exchange.Of(Lane() % ClusterBlocks()).mass, op);
}

// The sum of the values of the threads before this one.
template <typename T>
__device__ T BlockSumBefore(BlockMemory& memory, T value) {
  T sum = value;
  for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
    const T lower = __shfl_up_sync(kAllLanes, sum, distance);
    if (Lane() >= distance) sum += lower;
  }
  __syncthreads();
  if (Lane() == kWarp - 1) memory.warp_values[WarpOfThread()] = sum;
  __syncthreads();
  sum -= value;
  for (uint32_t warp = 0; warp < WarpOfThread(); ++warp) {
    sum += static_cast<T>(memory.warp_values[warp]);
  }
  return sum;
}

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_BLOCK_MEMORY_H_
