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

// Decides when to trim. Not thread-safe.
class TrimPolicy {
 public:
  // Takes what FreeResidentBytes says, once a second. True when a trim is due: two looks in a row
  // have found more than 64 MiB that a trim may give back.
  bool Look(uint64_t free);

  // A trim has given so many bytes back; `free` is what the last look took. What a trim that gives
  // nothing back has left counts no more: memory that other libraries have mapped looks as if it
  // were free. What is left by a trim that did give some back may have been freed meanwhile.
  void Trimmed(uint64_t free, uint64_t given_back);

 private:
  uint64_t left_ = 0;
  bool was_free_ = false;
};

// From now on, until the process ends, gives back what stays free for a second or two. The C
// library by itself keeps what lies between blocks that are used: hundreds of MiB after a burst.
void KeepHeapTrimmed();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_HEAP_TRIM_H_
