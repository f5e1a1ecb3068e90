// After the blocks of a row have read it, they find its first token, and a value that at least
// top_k of its tokens reach.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_LEADS_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_LEADS_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernel/block_memory.cuh"
#include "cuda/kernel/cluster.cuh"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/token_order.h"

namespace token_sampler::cuda {

struct Leads {
  uint64_t first_key;  // the greatest key of the row
  // Ordered bits of a value that at least top_k tokens, or all that can be drawn, reach. Few more
  // tokens reach it, because the greatest tokens are seldom in one group of threads. 0, which all
  // reach, if no bound was asked for or none is known.
  uint32_t bound;
};

// Sorts the group values in descending order, and writes those at the places `among_all` and
// `of_share`, which count from 1, to memory.lead; nothing if there are fewer groups. `own` is the
// value of the thread's group. Each thread of a group compares it with a share of the other values.
__device__ inline void RankGroups(uint32_t own, uint32_t among_all, uint32_t of_share,
                                  BlockMemory& memory) {
  constexpr uint32_t kNotLess = 1u << 16;  // both counts in one word
  uint32_t counts = 0;
  const auto* const fours = reinterpret_cast<const uint4*>(memory.group_values);
#pragma unroll
  for (uint32_t i = 0; i < kGroups / 4; i += kThreadsPerGroup) {
    const uint4 four = fours[i + threadIdx.x % kThreadsPerGroup];
    for (const uint32_t other : {four.x, four.y, four.z, four.w}) {
      counts += other > own ? 1 : 0;
      counts += other >= own ? kNotLess : 0;
    }
  }
  counts = ReduceLanes<kThreadsPerGroup>(counts, Sum());
  const uint32_t greater = counts % kNotLess;
  const uint32_t not_less = counts / kNotLess;
  // Groups of equal values write the same.
  if (greater < among_all && among_all <= not_less) memory.lead.among_all = own;
  if (greater < of_share && of_share <= not_less) memory.lead.of_share = own;
}

// `greatest` is the greatest key that this thread has read. A top_k of 0 asks for no bound. If a
// group reaches a value, one of its tokens does. So at least top_k tokens reach a value that top_k
// groups of one block reach, and a value that a share of top_k groups reaches in every block.
__device__ inline Leads FindLeads(BlockMemory& memory, Exchange& exchange, uint64_t greatest,
                                  uint32_t top_k) {
  const auto own = static_cast<uint32_t>(greatest >> 32);
  const uint32_t group = ReduceLanes<kThreadsPerGroup>(own, Max());
  if (threadIdx.x % kThreadsPerGroup == 0) {
    memory.group_values[threadIdx.x / kThreadsPerGroup] = group;
  }
  if (threadIdx.x == 0) memory.lead = {0, 0, 0};
  const uint64_t key = BlockReduce(memory, greatest, Max());
  if (top_k > 0) {
    RankGroups(group, top_k, (top_k + ClusterBlocks() - 1) / ClusterBlocks(), memory);
  }
  exchange.Publish(
      [&] {
        return Lead{memory.lead.among_all, memory.lead.of_share, key};
      },
      [&] {
        if (threadIdx.x != kThreads - 1) return;
        memory.uniform = UniformBits(memory.job.key, RandomDomain::kToken, 0);
      });
  const Lead lead = exchange.Of<Lead>(LaneOfThread() % ClusterBlocks());
  const uint32_t share = ReduceRanks(lead.of_share, Min());
  const uint32_t among_all = ReduceRanks(lead.among_all, Max());
  return {ReduceRanks(lead.key, Max()), share > among_all ? share : among_all};
}

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_LEADS_H_
