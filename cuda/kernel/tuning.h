// The tuned constants of the kernel. Other devices may need other values: cuda/README.md has
// measurements with these on an H100.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_

#include <cstdint>

namespace token_sampler::cuda {

inline constexpr uint32_t kWarp = 32;

// Threads of a block. Two such blocks leave 64 registers for each thread, and the loops that weigh
// need all of them.
inline constexpr uint32_t kThreads = 512;
inline constexpr uint32_t kWarps = kThreads / kWarp;

// The blocks for which a multiprocessor has registers: while one waits for memory or for its
// cluster, the other works. Without clusters, few rows are short enough that two blocks fit into
// shared memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
[[maybe_unused]] inline constexpr uint32_t kBlocksPerMultiprocessor = 1;
#else
[[maybe_unused]] inline constexpr uint32_t kBlocksPerMultiprocessor = 2;
#endif

// The most blocks of a row. A launch with more would not be portable to all devices with clusters.
inline constexpr uint32_t kMaxClusterBlocks = 8;

// A part of at most this many tokens is not divided among more blocks: the barriers between them
// would cost more than sharing gains.
inline constexpr uint32_t kLeastPart = 8 * kThreads;

// The most tokens that one block sorts and finishes by itself, one per thread.
inline constexpr uint32_t kMaxListed = kThreads;

// Threads of a group, of which only the greatest value is known. Smaller groups are more, and each
// is compared with all others; larger ones make the bound of a top-k looser.
inline constexpr uint32_t kThreadsPerGroup = 4;
inline constexpr uint32_t kGroups = kThreads / kThreadsPerGroup;

// Histograms of the order: log2 of the number of bins, and the octaves of weights that the bins by
// value of a row of logits cover. With 64 bins per octave, the bin in which top-p ends has few
// tokens, and the three arrays take 24 KiB of shared memory.
inline constexpr int kBinBits = 11;
inline constexpr uint32_t kBins = 1u << kBinBits;
inline constexpr float kBinnedOctaves = 32.0f;

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_TUNING_H_
