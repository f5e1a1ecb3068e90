// The memory that a block shares beside its part of the row, and sums, maxima and scans by all
// threads of a block or cluster. All values are integers, so no order of operations shows.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_BLOCK_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_BLOCK_MEMORY_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "cuda/kernel/bin_of_key.cuh"
#include "cuda/kernel/cluster.cuh"
#include "cuda/kernel/mail.cuh"
#include "cuda/kernel/row_job.h"
#include "cuda/kernel/tuning.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/wide_integer.h"

namespace token_sampler::cuda {

inline constexpr uint32_t kExchangedWords = 4;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

// A number of tokens and what they weigh.
struct Portion {
  uint32_t count;
  uint64_t mass;

  __device__ friend Portion operator+(const Portion& a, const Portion& b) {
    return {a.count + b.count, a.mass + b.mass};
  }
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

// A block knows this of its part once it has read it: see leads.h.
struct Lead {
  uint32_t among_all;  // ordered bits of a value that top_k of its groups reach
  uint32_t of_share;   // and of one that its share of top_k groups reaches
  uint64_t key;        // the greatest
};

struct alignas(16) BlockMemory {
  RowJob job;
  double plain_scale;           // of plain weights, once their largest is known
  uint64_t listed[kMaxListed];  // order keys of this block
  uint64_t copied[kMaxListed];  // those of all blocks; later what they weigh
  uint64_t sorted[kMaxListed];
  uint64_t warp_values[kWarps];
  Portion warp_portions[kWarps];
  Uint128 uniform;                             // of the row's first draw
  alignas(16) uint32_t group_values[kGroups];  // ordered bits
  Lead lead;
  // Every block sends one line of these. The two take turns: one is written while the other is
  // read.
  uint64_t exchanged[2][kMaxClusterBlocks][kExchangedWords];
  Inbox exchange_inboxes[2];
  Inbox found_inbox;
  Inbox list_inbox;
  Inbox boundary_inbox;
  Narrowing narrowing;
  FoundBin found;
  uint64_t boundary;    // the last key that top-p keeps
  uint32_t num_listed;  // in `listed`, and those that had no room
  uint32_t num_left;    // of `sorted`
  uint64_t mass_left;
  uint32_t counts[kBins];
  uint32_t mass_low[kBins];  // halves, because the hardware has no 64-bit atomics in shared memory
  uint32_t mass_high[kBins];
};

// The uniform number of a draw. FindLeads has written that of the first.
__device__ inline Uint128 UniformOf(const BlockMemory& memory, uint32_t draw) {
  return draw == 0 ? memory.uniform : UniformBits(memory.job.key, RandomDomain::kToken, draw);
}

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
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Min {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

template <typename T>
__device__ T FromLaneXor(T value, uint32_t bits) {
  return __shfl_xor_sync(kAllLanes, value, static_cast<int>(bits));
}
template <typename T>
__device__ T FromLaneBelow(T value, uint32_t distance) {
  return __shfl_up_sync(kAllLanes, value, distance);
}
__device__ inline Portion FromLaneXor(const Portion& value, uint32_t bits) {
  return {FromLaneXor(value.count, bits), FromLaneXor(value.mass, bits)};
}
__device__ inline Portion FromLaneBelow(const Portion& value, uint32_t distance) {
  return {FromLaneBelow(value.count, distance), FromLaneBelow(value.mass, distance)};
}

// Reduces each kLanes neighbours, a power of two. Every lane gets the result.
template <uint32_t kLanes, typename T, typename Op>
__device__ T ReduceLanes(T value, Op op) {
  for (uint32_t distance = kLanes / 2; distance > 0; distance /= 2) {
    value = op(value, FromLaneXor(value, distance));
  }
  return value;
}
template <typename T, typename Op>
__device__ T WarpReduce(T value, Op op) {
  return ReduceLanes<kWarp>(value, op);
}

// Every thread gets the result. A barrier stands between its use of warp_values and the next one's.
template <typename Op>
__device__ uint64_t BlockReduce(BlockMemory& memory, uint64_t value, Op op) {
  value = WarpReduce(value, op);
  __syncthreads();
  if (Lane() == 0) memory.warp_values[WarpOfThread()] = value;
  __syncthreads();
  return ReduceLanes<kWarps>(memory.warp_values[Lane() % kWarps], op);
}

// The place of sums over warps.
__device__ inline uint64_t* WarpSums(BlockMemory& memory, uint64_t) { return memory.warp_values; }
__device__ inline Portion* WarpSums(BlockMemory& memory, const Portion&) {
  return memory.warp_portions;
}

// The sums of the values of the threads before this one, and of all.
template <typename T>
struct BlockSums {
  __device__ BlockSums(BlockMemory& memory, const T& value) {
    T sum = value;
    for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
      const T lower = FromLaneBelow(sum, distance);
      if (Lane() >= distance) sum = sum + lower;
    }
    const T previous = FromLaneBelow(sum, 1);
    T* const sums = WarpSums(memory, value);
    __syncthreads();
    if (Lane() == kWarp - 1) sums[WarpOfThread()] = sum;
    __syncthreads();
    const uint32_t warp = Lane() % kWarps;
    const T of_warp = sums[warp];
    before = ReduceLanes<kWarps>(warp < WarpOfThread() ? of_warp : T{}, Sum());
    if (Lane() > 0) before = before + previous;
    total = ReduceLanes<kWarps>(of_warp, Sum());
  }

  T before;
  T total;
};

// Opens the block's inboxes. By one thread, before all else that is sent.
__device__ inline void OpenInboxes(BlockMemory& memory) {
  OpenInbox(&memory.exchange_inboxes[0]);
  OpenInbox(&memory.exchange_inboxes[1]);
  OpenInbox(&memory.found_inbox);
  OpenInbox(&memory.list_inbox);
  OpenInbox(&memory.boundary_inbox);
}

// Makes a value of each block known to all. All blocks have to have opened their inboxes.
class Exchange {
 public:
  __device__ explicit Exchange(BlockMemory& memory) : memory_(memory) {}

  // Publishes the result of `read`, which is called after a barrier of the block and returns the
  // same in all threads. Of<T> gives what the blocks published until the next call.
  template <typename Read>
  __device__ void Publish(Read read) {
    Publish(read, [] {});
  }
  // Calls `meanwhile` in all threads while the words are under way.
  template <typename Read, typename Meanwhile>
  __device__ void Publish(Read read, Meanwhile meanwhile) {
    using T = decltype(read());
    constexpr uint32_t kWords = (sizeof(T) + sizeof(uint64_t) - 1) / sizeof(uint64_t);
    static_assert(kWords <= kExchangedWords);
    // All threads have read what was published the time before last, so others may send there.
    __syncthreads();
    turn_ ^= 1;
    Inbox* const inbox = &memory_.exchange_inboxes[turn_];
    if (threadIdx.x == 0) ExpectMail(inbox, ClusterBlocks() * kWords * sizeof(uint64_t));
    if (threadIdx.x < ClusterBlocks()) {
      const T value = read();
      uint64_t words[kWords] = {};
      memcpy(words, &value, sizeof(T));
      for (uint32_t i = 0; i < kWords; ++i) {
        Send(words[i], &memory_.exchanged[turn_][ClusterRank()][i], inbox, threadIdx.x);
      }
    }
    meanwhile();
    Await(inbox, turn_, true);
  }
  template <typename T>
  __device__ T Of(uint32_t rank) const {
    T value;
    memcpy(&value, memory_.exchanged[turn_][rank], sizeof(T));
    return value;
  }

  // Waits for what is sent otherwise; see AwaitMail. `number` tells inboxes apart.
  static constexpr uint32_t kFound = 2;
  static constexpr uint32_t kList = 3;
  static constexpr uint32_t kBoundary = 4;
  __device__ void Await(Inbox* inbox, uint32_t number, bool expects) {
    AwaitMail(inbox, parities_ >> number & 1, expects);
    if (expects) parities_ ^= 1u << number;
  }

  // Gives lane i what block i % kMaxClusterBlocks published, and T{} where there is no such block.
  template <typename T>
  __device__ T OfLane() const {
    const uint32_t rank = Lane() % kMaxClusterBlocks;
    return rank < ClusterBlocks() ? Of<T>(rank) : T{};
  }

 private:
  BlockMemory& memory_;
  uint32_t turn_ = 0;
  uint32_t parities_ = 0;  // of how often each inbox was waited for
};

// Reduces what Exchange::OfLane gave the lanes. Every lane gets the result.
template <typename T, typename Op>
__device__ T ReduceRanks(T value, Op op) {
  return ReduceLanes<kMaxClusterBlocks>(value, op);
}
// The same for those of blocks before this one.
template <typename T>
__device__ T SumOfLowerRanks(const T& value) {
  return ReduceRanks(Lane() % kMaxClusterBlocks < ClusterRank() ? value : T{}, Sum());
}

// `op` may get a value more than once.
template <typename Op>
__device__ uint64_t ClusterReduce(BlockMemory& memory, Exchange& exchange, uint64_t value, Op op) {
  value = BlockReduce(memory, value, op);
  exchange.Publish([&] { return value; });
  const uint64_t of_rank = exchange.Of<uint64_t>(Lane() % ClusterBlocks());
  return ReduceRanks(of_rank, op);
}

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_BLOCK_MEMORY_H_
