// Gives memory back to the system that was freed after a burst.

#ifndef TOKEN_SAMPLER_SERVER_HEAP_TRIM_H_
#define TOKEN_SAMPLER_SERVER_HEAP_TRIM_H_

#include <cstdint>

namespace token_sampler {

// Memory of this process that is resident, in bytes, without what it shares with files and others.
uint64_t ResidentBytes();

// The part of it that the heap holds and nobody uses. Takes the time of a walk through what is
// free.
uint64_t FreeResidentBytes();

// Gives it back. Allocations wait meanwhile, some milliseconds for 100 MiB.
void TrimHeap();

// From now on, until the process ends, gives back what stays free for a second or two. The C
// library by itself keeps what lies between blocks that are used: hundreds of MiB after a burst.
void KeepHeapTrimmed();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_HEAP_TRIM_H_
