// The numbers of the kernel that were chosen. Another device may want others: cuda/README.md has
// what was measured with these on an H100.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_

#include <cstdint>

namespace token_sampler::cuda {

inline constexpr uint32_t kWarp = 32;

// Of a block. Two blocks of as many threads leave 64 registers to each thread, all of which the
// loops that weigh need.
inline constexpr uint32_t kThreads = 512;
inline constexpr uint32_t kWarps = kThreads / kWarp;

// Blocks that a multiprocessor has registers for: while one waits for memory or for its cluster,
// the other works. Without clusters, few rows would leave room for two in shared memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
[[maybe_unused]] inline constexpr uint32_t kBlocksPerMultiprocessor = 1;
#else
[[maybe_unused]] inline constexpr uint32_t kBlocksPerMultiprocessor = 2;
#endif

// Of a row. More would need a launch that is not portable to every device with clusters.
inline constexpr uint32_t kMaxClusterBlocks = 8;

// With fewer tokens a block has too little to do for what barriers between blocks cost.
inline constexpr uint32_t kLeastPart = 8 * kThreads;

// Tokens that one block sorts and ends alone, one for each of its threads.
inline constexpr uint32_t kMaxListed = kThreads;

// Threads that know together the greatest value they have read. Fewer make more groups, of which
// each is compared with all others; more make the bound of a top-k looser.
inline constexpr uint32_t kThreadsPerGroup = 4;
inline constexpr uint32_t kGroups = kThreads / kThreadsPerGroup;

// Histograms of the order: bins as a power of two, and the octaves of weights that the bins by
// value of a row of logits cover. 64 bins to an octave leave few tokens in the one where top-p
// ends, and their three arrays take 24 KiB of shared memory.
inline constexpr int kBinBits = 11;
inline constexpr uint32_t kBins = 1u << kBinBits;
inline constexpr float kBinnedOctaves = 32.0f;

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_
