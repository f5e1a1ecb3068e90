// Histograms of the order: the number and the mass of the tokens in each bin. They find the bin in
// which a prefix of the order ends. Counts and masses are integers, so the result is exact.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_HISTOGRAM_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_HISTOGRAM_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernel/bin_of_key.cuh"
#include "cuda/kernel/block_memory.cuh"
#include "cuda/kernel/cluster.cuh"
#include "cuda/kernel/weigher.cuh"
#include "sampler/arithmetic/token_order.h"

namespace token_sampler::cuda {

__device__ inline void ClearBins(BlockMemory& memory) {
  for (uint32_t bin = threadIdx.x; bin < kBins; bin += kThreads) {
    memory.counts[bin] = 0;
    memory.mass_low[bin] = 0;
    memory.mass_high[bin] = 0;
  }
  __syncthreads();
}

__device__ inline void AddMass(uint64_t mass, uint32_t bin, BlockMemory& memory) {
  const auto low = static_cast<uint32_t>(mass);
  const uint32_t sum = atomicAdd(&memory.mass_low[bin], low) + low;
  atomicAdd(&memory.mass_high[bin], static_cast<uint32_t>(mass >> 32) + (sum < low ? 1u : 0u));
}

__device__ inline uint64_t MassOf(uint32_t bin, const BlockMemory& memory) {
  return memory.mass_low[bin] + (uint64_t{memory.mass_high[bin]} << 32);
}

// Counts and weighs the tokens of the cluster's row in the bins of memory.narrowing. Thread 0 may
// write that directly before, without a barrier.
template <typename Part, typename Weigh>
__device__ void FillBins(const Part& part, const Weigh& weigh, bool with_mass,
                         BlockMemory& memory) {
  ClearBins(memory);
  const Binning binning = memory.narrowing.binning;
  // The last bin is open-ended and may have nearly all tokens, so sum it in registers.
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
  if (LaneOfThread() == 0 && last_count > 0) {
    atomicAdd(&memory.counts[kBins - 1], last_count);
    AddMass(last_mass, kBins - 1, memory);
  }
  ClusterSync();
}

// Counts the values >= `least` of the cluster's row in bins by value, except the last bin.
template <typename Part>
__device__ void CountBins(const Part& part, float least, const Binning& binning,
                          BlockMemory& memory) {
  ClearBins(memory);
  part.ForEachValue([&](float value) {
    const float distance = binning.Distance(value);
    if (value >= least && distance < static_cast<float>(kBins - 1)) {
      atomicAdd(&memory.counts[static_cast<uint32_t>(distance)], 1u);
    }
  });
  ClusterSync();
}

// The source of the mass of a bin.
enum class BinMass : uint8_t {
  kNone,
  kSummed,   // summed by FillBins
  kGuessed,  // the count times the weight of a token in the middle of the bin, if the first token
             // has 2^40
};

// The bins of a row, summed over its blocks. Each thread has some neighbouring bins.
class BinSums {
 public:
  // All threads call it after FillBins or CountBins.
  __device__ BinSums(BlockMemory& memory, Exchange& exchange, BinMass mass)
      : memory_(memory), exchange_(exchange), mass_(mass) {
    const uint32_t slice = kBins / ClusterBlocks();
    const uint32_t per_thread = slice > kThreads ? slice / kThreads : 1;
    first_bin_ = ClusterRank() * slice + threadIdx.x * per_thread;
    num_bins_ = threadIdx.x * per_thread < slice ? per_thread : 0;
    own_ = {0, 0};
    for (uint32_t i = 0; i < num_bins_; ++i) own_ = own_ + SumOverBlocks(first_bin_ + i);
    const BlockSums<Portion> sums(memory, own_);
    if (threadIdx.x == 0) memory.num_listed = 0;
    exchange.Publish([&] { return sums.total; });
    const Portion of_rank = exchange.OfLane<Portion>();
    before_ = SumOfLowerRanks(of_rank) + sums.before;
    total_ = ReduceRanks(of_rank, Sum());
  }

  __device__ Portion total() const { return total_; }

  // Returns, in every thread of every block, the bin in which a prefix of `target` tokens, or of a
  // mass of at least `target`, ends. `target` must be in [1, total].
  __device__ const FoundBin& Find(uint64_t target, bool by_mass) const {
    if (threadIdx.x == 0) ExpectMail(&memory_.found_inbox, sizeof(FoundBin));
    if (EndsIn(before_, own_, target, by_mass)) {
      FoundBin found = {first_bin_, before_, num_bins_ == 1 ? own_ : SumOverBlocks(first_bin_)};
      while (!EndsIn(found.before, found.inside, target, by_mass)) {
        found.before = found.before + found.inside;
        found.inside = SumOverBlocks(++found.bin);
      }
      uint64_t words[kFoundWords];
      memcpy(words, &found, sizeof(found));
      auto* const to = reinterpret_cast<uint64_t*>(&memory_.found);
#pragma unroll 1
      for (uint32_t rank = 0; rank < ClusterBlocks(); ++rank) {
        for (uint32_t i = 0; i < kFoundWords; ++i) {
          Send(words[i], &to[i], &memory_.found_inbox, rank);
        }
      }
    }
    exchange_.Await(&memory_.found_inbox, Exchange::kFound, true);
    return memory_.found;
  }

 private:
  // True if the prefix ends in the tokens `inside`, which come after `before`.
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
    // Issue all loads at once, because each takes long.
#pragma unroll
    for (uint32_t rank = 0; rank < kMaxClusterBlocks; ++rank) {
      if (rank >= ClusterBlocks()) continue;
      count += ReadOfRank(&memory_.counts[bin], rank);
      if (mass_ == BinMass::kSummed) {
        low += ReadOfRank(&memory_.mass_low[bin], rank);
        high += ReadOfRank(&memory_.mass_high[bin], rank);
      }
    }
    if (mass_ == BinMass::kGuessed) {
      const float octaves = (static_cast<float>(bin) + 0.5f) * (kBinnedOctaves / kBins);
      return {count, count * static_cast<uint64_t>(exp2f(40.0f - octaves))};
    }
    return {count, low + (uint64_t{high} << 32)};
  }

  static_assert(sizeof(FoundBin) % sizeof(uint64_t) == 0);
  static constexpr uint32_t kFoundWords = sizeof(FoundBin) / sizeof(uint64_t);

  BlockMemory& memory_;
  Exchange& exchange_;
  const BinMass mass_;
  Portion own_;     // of this thread's bins
  Portion before_;  // of the bins before them
  Portion total_;
  uint32_t first_bin_;
  uint32_t num_bins_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_HISTOGRAM_H_
