// The shared memory of a block besides its part of the row, and sums, maxima and scans over the
// threads of a block or cluster. All values are integers, so the order of operations does not
// matter.

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

// The number and the mass of some tokens.
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

// The state of the search for the end of a prefix.
struct Narrowing {
  Binning binning;  // of the keys that may be the last of the prefix
  Portion before;   // the tokens before those keys
  uint64_t target;  // number of tokens or mass of the prefix
};

// A block's knowledge of its part after reading it: see leads.cuh.
struct Lead {
  uint32_t among_all;  // ordered bits of a value that top_k of its groups of threads reach
  uint32_t of_share;   // and of a value that its share of top_k groups reaches
  uint64_t key;        // the greatest of the part
};

struct alignas(16) BlockMemory {
  RowJob job;
  double plain_scale;           // of plain weights, after their largest is known
  uint64_t listed[kMaxListed];  // order keys that this block listed
  uint64_t copied[kMaxListed];  // the keys of all blocks; later their weights
  uint64_t sorted[kMaxListed];
  uint64_t warp_values[kWarps];
  Portion warp_portions[kWarps];
  Uint128 uniform;                             // for the row's first draw
  alignas(16) uint32_t group_values[kGroups];  // ordered bits
  Lead lead;
  // Each block sends one line of these. The two arrays alternate: one is written while the other is
  // read.
  uint64_t exchanged[2][kMaxClusterBlocks][kExchangedWords];
  Inbox exchange_inboxes[2];
  Inbox found_inbox;
  Inbox list_inbox;
  Inbox boundary_inbox;
  Narrowing narrowing;
  FoundBin found;
  uint64_t boundary;    // the last key that top-p keeps
  uint32_t num_listed;  // in `listed`, including keys for which it had no room
  uint32_t num_left;    // in `sorted`
  uint64_t mass_left;
  uint32_t counts[kBins];
  uint32_t mass_low[kBins];  // in halves, because the hardware has no 64-bit atomics in shared
                             // memory
  uint32_t mass_high[kBins];
};

// Returns the uniform number of a draw. FindLeads must have set memory.uniform.
__device__ inline Uint128 UniformOf(const BlockMemory& memory, uint32_t draw) {
  return draw == 0 ? memory.uniform : UniformBits(memory.job.key, RandomDomain::kToken, draw);
}

__device__ inline uint32_t LaneOfThread() { return threadIdx.x % kWarp; }
__device__ inline uint32_t WarpOfThread() { return threadIdx.x / kWarp; }

// Copies a job from device memory to shared memory. All threads of the block call it.
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

// Reduces the values of each kLanes neighbours; kLanes is a power of two. Every lane gets the
// result.
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

// Reduces the values of a block's threads. Every thread gets the result. The first barrier
// separates this use of warp_values from the previous one.
template <typename Op>
__device__ uint64_t BlockReduce(BlockMemory& memory, uint64_t value, Op op) {
  value = WarpReduce(value, op);
  __syncthreads();
  if (LaneOfThread() == 0) memory.warp_values[WarpOfThread()] = value;
  __syncthreads();
  return ReduceLanes<kWarps>(memory.warp_values[LaneOfThread() % kWarps], op);
}

// Returns the array for sums over warps.
__device__ inline uint64_t* WarpSums(BlockMemory& memory, uint64_t) { return memory.warp_values; }
__device__ inline Portion* WarpSums(BlockMemory& memory, const Portion&) {
  return memory.warp_portions;
}

// Computes the sums of the values of the block's threads before this one, and of all.
template <typename T>
struct BlockSums {
  __device__ BlockSums(BlockMemory& memory, const T& value) {
    T sum = value;
    for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
      const T lower = FromLaneBelow(sum, distance);
      if (LaneOfThread() >= distance) sum = sum + lower;
    }
    const T previous = FromLaneBelow(sum, 1);
    T* const sums = WarpSums(memory, value);
    __syncthreads();
    if (LaneOfThread() == kWarp - 1) sums[WarpOfThread()] = sum;
    __syncthreads();
    const uint32_t warp = LaneOfThread() % kWarps;
    const T of_warp = sums[warp];
    before = ReduceLanes<kWarps>(warp < WarpOfThread() ? of_warp : T{}, Sum());
    if (LaneOfThread() > 0) before = before + previous;
    total = ReduceLanes<kWarps>(of_warp, Sum());
  }

  T before;
  T total;
};

// Opens the block's inboxes. One thread calls it, before anything is sent.
__device__ inline void OpenInboxes(BlockMemory& memory) {
  OpenInbox(&memory.exchange_inboxes[0]);
  OpenInbox(&memory.exchange_inboxes[1]);
  OpenInbox(&memory.found_inbox);
  OpenInbox(&memory.list_inbox);
  OpenInbox(&memory.boundary_inbox);
}

// Sends a value of each block to all blocks of the cluster. All blocks must have opened their
// inboxes.
class Exchange {
 public:
  __device__ explicit Exchange(BlockMemory& memory) : memory_(memory) {}

  // Publishes the result of `read`, which is called after a barrier of the block and must return
  // the same in all threads. Until the next call, Of<T> returns the values that the blocks
  // published.
  template <typename Read>
  __device__ void Publish(Read read) {
    Publish(read, [] {});
  }
  // The same, and calls `meanwhile` in all threads while the words are under way.
  template <typename Read, typename Meanwhile>
  __device__ void Publish(Read read, Meanwhile meanwhile) {
    using T = decltype(read());
    constexpr uint32_t kWords = (sizeof(T) + sizeof(uint64_t) - 1) / sizeof(uint64_t);
    static_assert(kWords <= kExchangedWords);
    // After this, all threads have read the values of the publication before the last, so others
    // may overwrite them.
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

  // Waits for words that are sent in other ways; see AwaitMail. `number` is the number of the
  // inbox.
  static constexpr uint32_t kFound = 2;
  static constexpr uint32_t kList = 3;
  static constexpr uint32_t kBoundary = 4;
  __device__ void Await(Inbox* inbox, uint32_t number, bool expects) {
    AwaitMail(inbox, parities_ >> number & 1, expects);
    if (expects) parities_ ^= 1u << number;
  }

  // Returns, in lane i, the value that block i % kMaxClusterBlocks published; T{} if there is no
  // such block.
  template <typename T>
  __device__ T OfLane() const {
    const uint32_t rank = LaneOfThread() % kMaxClusterBlocks;
    return rank < ClusterBlocks() ? Of<T>(rank) : T{};
  }

 private:
  BlockMemory& memory_;
  uint32_t turn_ = 0;
  uint32_t parities_ = 0;  // bit per inbox: parity of the number of waits for it
};

// Reduces the values of Exchange::OfLane. Every lane gets the result.
template <typename T, typename Op>
__device__ T ReduceRanks(T value, Op op) {
  return ReduceLanes<kMaxClusterBlocks>(value, op);
}
// Sums the values of the blocks before this one.
template <typename T>
__device__ T SumOfLowerRanks(const T& value) {
  return ReduceRanks(LaneOfThread() % kMaxClusterBlocks < ClusterRank() ? value : T{}, Sum());
}

// Reduces the values of all threads of the cluster. `op` must allow that it gets a value more than
// once.
template <typename Op>
__device__ uint64_t ClusterReduce(BlockMemory& memory, Exchange& exchange, uint64_t value, Op op) {
  value = BlockReduce(memory, value, op);
  exchange.Publish([&] { return value; });
  const uint64_t of_rank = exchange.Of<uint64_t>(LaneOfThread() % ClusterBlocks());
  return ReduceRanks(of_rank, op);
}

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_BLOCK_MEMORY_H_
