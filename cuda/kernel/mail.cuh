// Blocks of a cluster send words into each other's shared memory. An inbox there counts the bytes
// that have arrived, so that a block waits only for what it needs. A barrier of the cluster would
// wait for everything that any block wrote, and the words would still have to be read from the
// other blocks. PTX ISA 9.0, "st.async" and "mbarrier".

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_MAIL_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_MAIL_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernel/cluster.cuh"

namespace token_sampler::cuda {

using Inbox = uint64_t;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// A single block writes to itself, because it may have been launched without a cluster.

__device__ inline uint32_t SharedAddress(const void* address) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(address));
}
__device__ inline uint32_t SharedAddressOfRank(const void* address, uint32_t rank) {
  uint32_t mapped;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(mapped)
      : "r"(SharedAddress(address)), "r"(rank));
  return mapped;
}

// Reads what block `rank` has at `address`. Computes the mapped address in each call, so that no
// register keeps it.
__device__ inline uint32_t ReadOfRank(const uint32_t* address, uint32_t rank) {
  if (ClusterBlocks() == 1) return *address;
  uint32_t word;
  asm volatile(
      "{\n"
      ".reg .u32 place;\n"
      "mapa.shared::cluster.u32 place, %1, %2;\n"
      "ld.shared::cluster.u32 %0, [place];\n"
      "}"
      : "=r"(word)
      : "r"(SharedAddress(address)), "r"(rank));
  return word;
}

// One thread of the block calls it, before a barrier of the cluster.
__device__ inline void OpenInbox(Inbox* inbox) {
  if (ClusterBlocks() == 1) return;
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(SharedAddress(inbox)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// One thread calls it once per wait. `bytes` are or will be sent to this block.
__device__ inline void ExpectMail(Inbox* inbox, uint32_t bytes) {
  if (ClusterBlocks() == 1) return;
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(inbox)),
               "r"(bytes)
               : "memory");
}

// Sends a word to the addresses at which block `rank` has `to` and `inbox`.
__device__ inline void Send(uint64_t word, uint64_t* to, Inbox* inbox, uint32_t rank) {
  if (ClusterBlocks() == 1) {
    *to = word;
    return;
  }
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(
                   SharedAddressOfRank(to, rank)),
               "l"(word), "r"(SharedAddressOfRank(inbox, rank))
               : "memory");
}

// All threads of all blocks call it; those of a block that expects mail wait for it. `parity` is
// the parity of the number of earlier waits for this inbox.
__device__ inline void AwaitMail(Inbox* inbox, uint32_t parity, bool expects) {
  if (ClusterBlocks() == 1) {
    __syncthreads();
    return;
  }
  if (!expects) return;
  uint32_t has_come = 0;
  while (has_come == 0) {
    asm volatile(
        "{\n"
        ".reg .pred come;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 come, [%1], %2;\n"
        "selp.u32 %0, 1, 0, come;\n"
        "}"
        : "=r"(has_come)
        : "r"(SharedAddress(inbox)), "r"(parity)
        : "memory");
  }
}

#else

__device__ inline uint32_t ReadOfRank(const uint32_t* address, uint32_t rank) {
  return *OfRank(address, rank);
}
__device__ inline void OpenInbox(Inbox*) {}
__device__ inline void ExpectMail(Inbox*, uint32_t) {}
__device__ inline void Send(uint64_t word, uint64_t* to, Inbox*, uint32_t rank) {
  *OfRank(to, rank) = word;
}
__device__ inline void AwaitMail(Inbox*, uint32_t, bool) { ClusterSync(); }

#endif

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_MAIL_H_
