// Memory of this process that CUDA devices copy from by DMA. Names no CUDA type, as cuda_sampler.h.

#ifndef TOKEN_SAMPLER_CUDA_PINNED_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_PINNED_MEMORY_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"

namespace token_sampler {

// Thread-safe. Lets go of the pages with its end, by when no copy from them may be under way.
class PinnedMemory {
 public:
  // Whether every device takes pages that the process may read alone.
  static bool TakesReadOnly();

  // Page-locks whole pages, which have to stay mapped, for every device. Internal with the reason
  // when CUDA refuses: no memory of this kind, too much of it, pages that are locked already;
  // Unimplemented for devices that would read them by the page tables of the process instead of
  // locking them (pageableMemoryAccessUsesHostPageTables); FailedPrecondition in a build without
  // CUDA.
  static absl::StatusOr<std::unique_ptr<PinnedMemory>> Pin(const char* pages, size_t size,
                                                           bool read_only);

  virtual ~PinnedMemory() = default;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_PINNED_MEMORY_H_
