// Histograms of the order: how many tokens, and what mass, fall into each of kBins intervals of
// order keys, and in which of them a prefix of the order ends. Counts and masses are integers, so
// the answer is exact; intervals that hold too many tokens are divided again.

#ifndef TOKEN_SAMPLER_CUDA_BINS_H_
#define TOKEN_SAMPLER_CUDA_BINS_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/block_memory.h"
#include "cuda/cluster.h"
#include "cuda/weigher.h"
#include "sampler/token_order.h"

namespace token_sampler::cuda {

// Divides the keys in [low, high]; bin 0 has the greatest.
struct Binning {
  static constexpr uint32_t kByValue = 64;

  uint64_t low;
  uint64_t high;
  uint32_t shift;  // keys per bin as a power of two; kByValue: by the distance to `first`
  float first = 0.0f;
  float per_value = 0.0f;

  // Bins of equal width in value, which a row's tokens fill more evenly than those of its bits.
  __device__ static Binning ByValue(uint64_t low, float first, float per_value) {
    return {low, ~uint64_t{0}, kByValue, first, per_value};
  }
  __device__ static Binning ByKey(uint64_t low, uint64_t high) {
    uint32_t shift = 0;
    while ((high - low) >> shift >= kBins) ++shift;
    return {low, high, shift};
  }

  __device__ bool Holds(uint64_t key) const { return key >= low && key <= high; }
  __device__ uint32_t BinOf(uint64_t key, float value) const {
    if (shift != kByValue) return static_cast<uint32_t>((high - key) >> shift);
    // Rounding keeps the order, and so do bins made of the rounded.
    const float distance = (first - value) * per_value;
    return distance < static_cast<float>(kBins - 1) ? static_cast<uint32_t>(distance) : kBins - 1;
  }
  // The tokens of one bin of keys.
  __device__ Binning Within(uint32_t bin) const {
    const uint64_t top = high - (uint64_t{bin} << shift);
    const uint64_t bottom = top - ((uint64_t{1} << shift) - 1);
    return ByKey(bottom > low && bottom <= top ? bottom : low, top);
  }
};

// Counts and weighs the tokens of the cluster's row.
template <typename Part>
__device__ void FillBins(const Part& part, const Weigher& weigh, const Binning& binning,
                         bool with_mass, BlockMemory& memory) {
  for (uint32_t bin = threadIdx.x; bin < kBins; bin += kThreads) {
    memory.counts[bin] = 0;
    memory.mass_low[bin] = 0;
    memory.mass_high[bin] = 0;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < part.size(); i += kThreads) {
    const float value = part.ValueAt(i);
    const uint64_t key = OrderKey(value, part.TokenAt(i));
    if (!binning.Holds(key)) continue;
    const uint32_t bin = binning.BinOf(key, value);
    atomicAdd(&memory.counts[bin], 1u);
    if (!with_mass) continue;
    const uint64_t mass = weigh(value);
    if (mass == 0) continue;
    const auto low = static_cast<uint32_t>(mass);
    const uint32_t sum = atomicAdd(&memory.mass_low[bin], low) + low;
    atomicAdd(&memory.mass_high[bin], static_cast<uint32_t>(mass >> 32) + (sum < low ? 1u : 0u));
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
  __device__ FoundBin Find(uint64_t target, bool by_mass) {
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
#pragma unroll 2
    for (uint32_t rank = 0; rank < ClusterBlocks(); ++rank) {
      count += *OfRank(&memory_.counts[bin], rank);
      low += *OfRank(&memory_.mass_low[bin], rank);
      high += *OfRank(&memory_.mass_high[bin], rank);
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
