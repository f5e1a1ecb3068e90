// A row of which at most kMaxListed tokens are left: one block ends it, a thread per token.

#ifndef TOKEN_SAMPLER_CUDA_LISTED_ROW_H_
#define TOKEN_SAMPLER_CUDA_LISTED_ROW_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/block_memory.h"
#include "cuda/cluster.h"
#include "cuda/row_job.h"
#include "cuda/weigher.h"

namespace token_sampler::cuda {

// Copies the keys that the blocks listed in rank 0 and sorts them into memory.sorted, the greatest
// first. Returns how many there are.
__device__ inline uint32_t SortListed(BlockMemory& memory) {
  const uint32_t count = *OfRank(&memory.num_listed, 0);
  const uint64_t* const listed = OfRank(memory.listed, 0);
  const bool has_key = threadIdx.x < count;
  const uint64_t key = has_key ? listed[threadIdx.x] : 0;
  if (has_key) memory.copied[threadIdx.x] = key;
  __syncthreads();
  uint32_t before = 0;
  if (WarpOfThread() * kWarp < count) {
    for (uint32_t i = 0; i < count; ++i) before += memory.copied[i] > key ? 1 : 0;
  }
  if (has_key) memory.sorted[before] = key;
  __syncthreads();
  return count;
}

// How many of the first `count` of memory.sorted have a mass of at least `target` <= their sum.
__device__ inline uint32_t PrefixOfMass(uint64_t target, uint32_t count, const Weigher& weigh,
                                        BlockMemory& memory) {
  const bool has_key = threadIdx.x < count;
  const uint64_t mass = has_key ? weigh.OfKey(memory.sorted[threadIdx.x]) : 0;
  const uint64_t up_to = BlockSumBefore(memory, mass) + mass;
  return static_cast<uint32_t>(__syncthreads_count(has_key && up_to < target ? 1 : 0)) + 1;
}

class ListedRow {
 public:
  // Behind SortListed; the first `count` of memory.sorted are left.
  __device__ ListedRow(const RowJob& job, uint32_t count, Weigher& weigh, BlockMemory& memory)
      : job_(job), weigh_(weigh), memory_(memory), count_(count) {}

  // Lets one stage act, not that of a greedy temperature.
  __device__ void Apply(JobStage stage) {
    switch (stage) {
      case JobStage::kNone:
        break;
      case JobStage::kTemperature:
        weigh_.SetTemperature();
        break;
      case JobStage::kMinP:
        KeepFirst(PrefixAtLeast(CeilFraction(job_.min_p, weigh_.OfFirst())));
        break;
      case JobStage::kTopK:
        KeepFirst(job_.top_k);
        break;
      case JobStage::kTopP:
        KeepFirst(PrefixOfMass(CeilFraction(job_.top_p, Total()), count_, weigh_, memory_));
        break;
    }
  }

  // At least one token is kept.
  __device__ void KeepFirst(uint32_t kept) {
    if (kept == 0) kept = 1;
    if (kept < count_) count_ = kept;
  }

  __device__ void Draw(uint32_t* tokens) {
    const bool has_key = threadIdx.x < count_;
    const uint32_t token = has_key ? TokenOfOrderKey(memory_.sorted[threadIdx.x]) : 0;
    const uint64_t mass = MassOfThread();
    const uint64_t total = BlockReduce(memory_, mass, Sum());
    __syncthreads();
    memory_.copied[threadIdx.x] = mass;
    __syncthreads();
    // The mass of the lower token ids.
    uint64_t before = 0;
    if (WarpOfThread() * kWarp < count_) {
      for (uint32_t i = 0; i < count_; ++i) {
        before += TokenOfOrderKey(memory_.sorted[i]) < token ? memory_.copied[i] : 0;
      }
    }
#pragma unroll 1
    for (uint32_t draw = 0; draw < job_.num_samples; ++draw) {
      const uint64_t target =
          ScaleUniform(UniformBits(job_.key, RandomDomain::kToken, draw), total);
      if (before <= target && target - before < mass) tokens[draw] = token;
    }
  }

 private:
  __device__ uint64_t MassOfThread() const {
    return threadIdx.x < count_ ? weigh_.OfKey(memory_.sorted[threadIdx.x]) : 0;
  }
  __device__ uint64_t Total() { return BlockReduce(memory_, MassOfThread(), Sum()); }

  // The longest prefix of weights that reach `threshold`.
  __device__ uint32_t PrefixAtLeast(uint64_t threshold) {
    const bool fails = threadIdx.x < count_ && MassOfThread() < threshold;
    return static_cast<uint32_t>(BlockReduce(memory_, fails ? threadIdx.x : count_, Min()));
  }

  const RowJob& job_;
  Weigher& weigh_;
  BlockMemory& memory_;
  uint32_t count_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LISTED_ROW_H_
