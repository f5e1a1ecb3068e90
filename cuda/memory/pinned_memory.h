// Memory of this process from which CUDA devices copy by DMA. Names no CUDA type, like
// cuda_sampler.h.

#ifndef TOKEN_SAMPLER_CUDA_MEMORY_PINNED_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_MEMORY_PINNED_MEMORY_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"

namespace token_sampler {

// Thread-safe. The destructor unlocks the pages: by then no copy from them may be under way.
class PinnedMemory {
 public:
  // True when every device accepts pages that the process may only read.
  static bool TakesReadOnly();

  // Page-locks whole pages, which must stay mapped, for every device. Internal, with the reason,
  // when CUDA refuses: this kind of memory, the amount, or pages that are locked already.
  // Unimplemented for devices that would read the pages by the process's page tables instead of
  // locking them (pageableMemoryAccessUsesHostPageTables). FailedPrecondition in a build without
  // CUDA.
  static absl::StatusOr<std::unique_ptr<PinnedMemory>> Pin(const char* pages, size_t size,
                                                           bool read_only);

  virtual ~PinnedMemory() = default;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_MEMORY_PINNED_MEMORY_H_
