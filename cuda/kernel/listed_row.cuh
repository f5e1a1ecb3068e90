// A row with at most kMaxListed tokens left: one block finishes it, with a thread per token.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_LISTED_ROW_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_LISTED_ROW_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernel/block_memory.cuh"
#include "cuda/kernel/cluster.cuh"
#include "cuda/kernel/histogram.cuh"
#include "cuda/kernel/row_job.h"
#include "cuda/kernel/weigher.cuh"

namespace token_sampler::cuda {

// Sends the keys that this block listed to memory.copied of rank 0, or of all blocks. The receivers
// wait for the keys of all blocks. `own` has, per lane, the number of keys that its block listed;
// `total`, in [1, kMaxListed], is the sum.
__device__ inline void SendListed(uint32_t own, uint32_t total, bool to_all, BlockMemory& memory,
                                  Exchange& exchange) {
  const bool expects = to_all || ClusterRank() == 0;
  if (expects && threadIdx.x == 0) {
    ExpectMail(&memory.list_inbox, total * static_cast<uint32_t>(sizeof(uint64_t)));
  }
  const uint32_t before = SumOfLowerRanks(own);
  if (threadIdx.x < memory.num_listed) {
    const uint32_t num_receivers = to_all ? ClusterBlocks() : 1;
    for (uint32_t rank = 0; rank < num_receivers; ++rank) {
      Send(memory.listed[threadIdx.x], &memory.copied[before + threadIdx.x], &memory.list_inbox,
           rank);
    }
  }
  exchange.Await(&memory.list_inbox, Exchange::kList, expects);
}

// Returns the number of keys that all blocks listed, and sends them if there are at most
// kMaxListed.
__device__ inline uint32_t GatherListed(bool to_all, BlockMemory& memory, Exchange& exchange) {
  exchange.Publish([&] { return memory.num_listed; });
  const auto own = exchange.OfLane<uint32_t>();
  const uint32_t total = ReduceRanks(own, Sum());
  if (total <= kMaxListed) SendListed(own, total, to_all, memory, exchange);
  return total;
}

// The comparisons of a thread: of one key with some others. If there are fewer keys than threads,
// several threads compare each key with a share of the others.
struct Comparison {
  __device__ Comparison(uint32_t num_keys, uint32_t num_others) {
    const uint32_t with_keys = num_keys > kWarp ? (num_keys + kWarp - 1) / kWarp : 1;  // warps
    const uint32_t num_shares = kWarps / with_keys;
    const uint32_t share = WarpOfThread() / with_keys;
    place = WarpOfThread() % with_keys * kWarp + LaneOfThread();
    has_key = place < num_keys && share < num_shares;
    const uint32_t each = (num_others + num_shares - 1) / num_shares;
    begin = share * each;
    end = begin + each < num_others ? begin + each : num_others;
  }

  bool has_key;
  uint32_t place;  // index of the key
  uint32_t begin;  // range of the others
  uint32_t end;
};

// Sorts the `count` keys of memory.copied into memory.sorted, the greatest first. Overwrites
// memory.counts.
__device__ inline void SortListed(uint32_t count, BlockMemory& memory) {
  memory.counts[threadIdx.x] = 0;
  __syncthreads();
  if (const Comparison compared(count, count); compared.has_key) {
    const uint64_t key = memory.copied[compared.place];
    const auto high = static_cast<uint32_t>(key >> 32);
    const auto low = static_cast<uint32_t>(key);
    uint32_t before = 0;
#pragma unroll 4
    for (uint32_t i = compared.begin; i < compared.end; ++i) {
      const uint64_t other = memory.copied[i];
      const auto other_high = static_cast<uint32_t>(other >> 32);
      const bool is_before =
          (other_high > high) | ((other_high == high) & (static_cast<uint32_t>(other) > low));
      before += is_before ? 1 : 0;
    }
    atomicAdd(&memory.counts[compared.place], before);
  }
  __syncthreads();
  if (threadIdx.x < count) memory.sorted[memory.counts[threadIdx.x]] = memory.copied[threadIdx.x];
  __syncthreads();
}

// Returns the last key of the shortest prefix of memory.copied with a mass of at least `target`.
// memory.copied must have `total` keys in any order, the same in all blocks, and `target` must be
// in [1, their mass]. Each block checks only the keys that it listed itself. The masses of the bins
// must be 0; those of the first kThreads bins stay 0.
__device__ inline uint64_t BoundaryOfMass(uint64_t target, uint32_t total, const Weigher& weigh,
                                          BlockMemory& memory, Exchange& exchange) {
  if (threadIdx.x == 0) ExpectMail(&memory.boundary_inbox, sizeof(uint64_t));
  uint64_t* const masses = memory.sorted;
  if (threadIdx.x < total) masses[threadIdx.x] = weigh.OfKey(memory.copied[threadIdx.x]);
  __syncthreads();
  const uint32_t own = memory.num_listed;
  if (const Comparison compared(own, total); compared.has_key) {
    const uint64_t key = memory.listed[compared.place];
    uint64_t before = 0;
#pragma unroll 4
    for (uint32_t i = compared.begin; i < compared.end; ++i) {
      before += memory.copied[i] > key ? masses[i] : 0;
    }
    AddMass(before, kThreads + compared.place, memory);
  }
  __syncthreads();
  if (threadIdx.x < own) {
    const uint64_t key = memory.listed[threadIdx.x];
    const uint64_t before = MassOf(kThreads + threadIdx.x, memory);
    if (before < target && target - before <= weigh.OfKey(key)) {
      for (uint32_t rank = 0; rank < ClusterBlocks(); ++rank) {
        Send(key, &memory.boundary, &memory.boundary_inbox, rank);
      }
    }
  }
  exchange.Await(&memory.boundary_inbox, Exchange::kBoundary, true);
  return memory.boundary;
}

// Returns the length of the shortest prefix of memory.sorted with a mass of at least `target`,
// which must be at most that of its first `count` keys.
__device__ inline uint32_t PrefixOfMass(uint64_t target, uint32_t count, const Weigher& weigh,
                                        BlockMemory& memory) {
  const bool has_key = threadIdx.x < count;
  const uint64_t mass = has_key ? weigh.OfKey(memory.sorted[threadIdx.x]) : 0;
  const uint64_t up_to = BlockSums<uint64_t>(memory, mass).before + mass;
  return static_cast<uint32_t>(__syncthreads_count(has_key && up_to < target ? 1 : 0)) + 1;
}

// One warp applies the stages, because barriers of the whole block would take more time. Then the
// block draws.
class ListedRow {
 public:
  // Call it after SortListed. The first `count` keys of memory.sorted are left.
  __device__ ListedRow(const RowJob& job, uint32_t count, Weigher& weigh, BlockMemory& memory)
      : job_(job), weigh_(weigh), memory_(memory), count_(count) {}

  // Applies the stages from `stage` on, and draws. The whole block calls it.
  __device__ void End(int stage, uint32_t* tokens) {
    // Weigh the tokens by one thread each before one warp needs all weights.
    if (stage < RowJob::kMaxStages && job_.stages[stage] == JobStage::kTemperature) {
      weigh_.SetTemperature();
      ++stage;
    }
    if (threadIdx.x < count_) {
      memory_.copied[threadIdx.x] = weigh_.OfKey(memory_.sorted[threadIdx.x]);
    }
    is_weighed_ = true;
    __syncthreads();
    if (WarpOfThread() == 0) {
      for (; stage < RowJob::kMaxStages && job_.stages[stage] != JobStage::kNone; ++stage) {
        Apply(job_.stages[stage]);
      }
      const uint64_t total = Total();
      if (threadIdx.x == 0) {
        memory_.num_left = count_;
        memory_.mass_left = total;
      }
    }
    __syncthreads();
    Draw(tokens);
  }

 private:
  __device__ void Apply(JobStage stage) {
    switch (stage) {
      case JobStage::kNone:
        break;
      case JobStage::kTemperature:
        weigh_.SetTemperature();
        is_weighed_ = false;
        break;
      case JobStage::kMinP:
        KeepFirst(PrefixAtLeast(CeilFraction(job_.min_p, weigh_.OfFirst())));
        break;
      case JobStage::kTopK:
        KeepFirst(job_.top_k);
        break;
      case JobStage::kTopP:
        KeepFirst(PrefixUpTo(CeilFraction(job_.top_p, Total())));
        break;
    }
  }

  // Keeps the first `kept` tokens, but at least one.
  __device__ void KeepFirst(uint32_t kept) {
    if (kept == 0) kept = 1;
    if (kept < count_) count_ = kept;
  }

  // Writes the weights to memory.copied. Lanes read only what they have written themselves.
  __device__ void Weigh() {
    if (is_weighed_) return;
    is_weighed_ = true;
    for (uint32_t i = LaneOfThread(); i < count_; i += kWarp) {
      memory_.copied[i] = weigh_.OfKey(memory_.sorted[i]);
    }
  }

  __device__ uint64_t Total() {
    Weigh();
    uint64_t sum = 0;
    for (uint32_t i = LaneOfThread(); i < count_; i += kWarp) sum += memory_.copied[i];
    return WarpReduce(sum, Sum());
  }

  // Returns the length of the longest prefix of tokens with a weight of at least `threshold`.
  __device__ uint32_t PrefixAtLeast(uint64_t threshold) {
    Weigh();
    for (uint32_t base = 0; base < count_; base += kWarp) {
      const uint32_t i = base + LaneOfThread();
      const uint32_t failing =
          __ballot_sync(kAllLanes, i < count_ && memory_.copied[i] < threshold ? 1 : 0);
      if (failing != 0) return base + static_cast<uint32_t>(__ffs(static_cast<int>(failing))) - 1;
    }
    return count_;
  }

  // Returns the length of the shortest prefix with a mass of at least `target`, which must be at
  // most the sum.
  __device__ uint32_t PrefixUpTo(uint64_t target) {
    uint64_t before = 0;
    for (uint32_t base = 0;; base += kWarp) {
      const uint32_t i = base + LaneOfThread();
      uint64_t sum = i < count_ ? memory_.copied[i] : 0;
      for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
        const uint64_t lower = __shfl_up_sync(kAllLanes, sum, distance);
        if (LaneOfThread() >= distance) sum += lower;
      }
      sum += before;
      const uint32_t reaching = __ballot_sync(kAllLanes, sum >= target ? 1 : 0);
      if (reaching != 0) return base + static_cast<uint32_t>(__ffs(static_cast<int>(reaching)));
      before = __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
  }

  __device__ void Draw(uint32_t* tokens) const {
    const uint32_t count = memory_.num_left;
    if (threadIdx.x >= count) return;
    const uint32_t token = TokenOfOrderKey(memory_.sorted[threadIdx.x]);
    const uint64_t mass = memory_.copied[threadIdx.x];
    // The mass of the tokens with lower ids.
    uint64_t before = 0;
#pragma unroll 8
    for (uint32_t i = 0; i < count; ++i) {
      before += TokenOfOrderKey(memory_.sorted[i]) < token ? memory_.copied[i] : 0;
    }
#pragma unroll 1
    for (uint32_t draw = 0; draw < job_.num_samples; ++draw) {
      const uint64_t target = ScaleUniform(UniformOf(memory_, draw), memory_.mass_left);
      if (before <= target && target - before < mass) tokens[draw] = token;
    }
  }

  const RowJob& job_;
  Weigher& weigh_;
  BlockMemory& memory_;
  uint32_t count_;
  bool is_weighed_ = false;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_LISTED_ROW_H_
