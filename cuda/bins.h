// Histograms of the order: how many tokens, and what mass, fall into each bin, and in which of them
// a prefix of the order ends. Counts and masses are integers, so the answer is exact.

#ifndef TOKEN_SAMPLER_CUDA_BINS_H_
#define TOKEN_SAMPLER_CUDA_BINS_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/binning.h"
#include "cuda/block_memory.h"
#include "cuda/cluster.h"
#include "cuda/weigher.h"
#include "sampler/token_order.h"

namespace token_sampler::cuda {

__device__ inline void ClearBins(BlockMemory& memory) {
  for (uint32_t bin = threadIdx.x; bin < kBins; bin += kThreads) {
    memory.counts[bin] = 0;
    memory.mass_low[bin] = 0;
    memory.mass_high[bin] = 0;
  }
  __syncthreads();
}

// Counts one key of each thread of the cluster.
__device__ inline void FillBins(uint64_t key, const Binning& binning, BlockMemory& memory) {
  ClearBins(memory);
  if (binning.Holds(key)) {
    const float value = FromOrderedBits(static_cast<uint32_t>(key >> 32));
    atomicAdd(&memory.counts[binning.BinOf(key, value)], 1u);
  }
  ClusterSync();
}

__device__ inline void AddMass(uint64_t mass, uint32_t bin, BlockMemory& memory) {
  const auto low = static_cast<uint32_t>(mass);
  const uint32_t sum = atomicAdd(&memory.mass_low[bin], low) + low;
  atomicAdd(&memory.mass_high[bin], static_cast<uint32_t>(mass >> 32) + (sum < low ? 1u : 0u));
}

// Counts and weighs the tokens of the cluster's row in the bins of memory.narrowing, which thread 0
// may just have written.
template <typename Part, typename Weigh>
__device__ void FillBins(const Part& part, const Weigh& weigh, bool with_mass,
                         BlockMemory& memory) {
  ClearBins(memory);
  const Binning binning = memory.narrowing.binning;
  // The last bin is open and may have nearly all tokens, so it is summed in registers.
  uint32_t last_count = 0;
  uint64_t last_mass = 0;
  part.ForEach([&](uint32_t index, float value) {
    const uint64_t key = OrderKey(value, part.TokenAt(index));
    if (!binning.Holds(key)) return;
    const uint32_t bin = binning.BinOf(key, value);
    const uint64_t mass = with_mass ? weigh(value) : 0;
    if (bin == kBins - 1) {
      ++last_count;
      last_mass += mass;
      return;
    }
    atomicAdd(&memory.counts[bin], 1u);
    if (mass > 0) AddMass(mass, bin, memory);
  });
  last_count = WarpReduce(last_count, Sum());
  last_mass = WarpReduce(last_mass, Sum());
  if (Lane() == 0 && last_count > 0) {
    atomicAdd(&memory.counts[kBins - 1], last_count);
    AddMass(last_mass, kBins - 1, memory);
  }
  ClusterSync();
}

// The bins of a row, summed over its blocks. Each thread has some neighbours of them.
class BinSums {
 public:
  // Behind FillBins, in all threads.
  __device__ BinSums(BlockMemory& memory, Exchange& exchange) : memory_(memory) {
    const uint32_t slice = kBins / ClusterBlocks();
    const uint32_t per_thread = slice > kThreads ? slice / kThreads : 1;
    first_bin_ = ClusterRank() * slice + threadIdx.x * per_thread;
    num_bins_ = threadIdx.x * per_thread < slice ? per_thread : 0;
    own_ = {0, 0};
    for (uint32_t i = 0; i < num_bins_; ++i) Add(SumOverBlocks(first_bin_ + i), own_);
    before_.count = BlockSumBefore(memory, own_.count);
    before_.mass = BlockSumBefore(memory, own_.mass);
    if (threadIdx.x == kThreads - 1) {
      memory.block_total = before_;
      Add(own_, memory.block_total);
    }
    if (threadIdx.x == 0) memory.num_listed = 0;
    __syncthreads();
    exchange.Publish(memory.block_total);
    Portion lower_blocks;
    exchange.Sums(lower_blocks, total_);
    Add(lower_blocks, before_);
  }

  __device__ Portion total() const { return total_; }

  // The bin in which a prefix of `target` tokens, or of a mass of at least `target`, ends; target
  // is in [1, total]. Every thread gets it.
  __device__ const FoundBin& Find(uint64_t target, bool by_mass) {
    if (EndsIn(before_, own_, target, by_mass)) {
      FoundBin found = {first_bin_, before_, SumOverBlocks(first_bin_)};
      while (!EndsIn(found.before, found.inside, target, by_mass)) {
        Add(found.inside, found.before);
        found.inside = SumOverBlocks(++found.bin);
      }
      for (uint32_t rank = 0; rank < ClusterBlocks(); ++rank) {
        *OfRank(&memory_.found, rank) = found;
      }
    }
    ClusterSync();
    return memory_.found;
  }

 private:
  __device__ static void Add(const Portion& portion, Portion& sum) {
    sum.count += portion.count;
    sum.mass += portion.mass;
  }
  // Whether the prefix ends in the tokens `inside`, which stand behind `before`.
  __device__ static bool EndsIn(const Portion& before, const Portion& inside, uint64_t target,
                                bool by_mass) {
    const uint64_t begin = by_mass ? before.mass : before.count;
    const uint64_t size = by_mass ? inside.mass : inside.count;
    return begin < target && target <= begin + size;
  }

  __device__ Portion SumOverBlocks(uint32_t bin) const {
    uint32_t count = 0;
    uint64_t low = 0;
    uint32_t high = 0;
#pragma unroll 1
    for (uint32_t rank = 0; rank < ClusterBlocks(); ++rank) {
      const BlockMemory& block = *OfRank(&memory_, rank);
      count += block.counts[bin];
      low += block.mass_low[bin];
      high += block.mass_high[bin];
    }
    return {count, low + (uint64_t{high} << 32)};
  }

  BlockMemory& memory_;
  Portion own_;     // this thread's bins
  Portion before_;  // those before them
  Portion total_;
  uint32_t first_bin_;
  uint32_t num_bins_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_BINS_H_
