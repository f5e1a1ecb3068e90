// The pages of a shared-memory object, locked so that a device copies from them by DMA.
//
// When the owner cuts the object or frees some of it, locked pages stay, but they are the object's
// no more: if it grows again, that is by others. Nothing of the copy tells, and neither the size
// nor the times of the object do for sure. inotify does: cutting, punching holes and writing
// through a descriptor are modifications, writing to a mapping is none.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/regions/guarded_mapping.h"

namespace token_sampler {

// How pages are locked; they are let go when the pointer goes.
struct PagePinning {
  std::function<absl::StatusOr<std::shared_ptr<void>>(const char* pages, size_t size)> pin =
      nullptr;
  bool needs_write = false;  // whether it takes only what the process may write
};

// Thread-safe.
class PinnedPages {
 public:
  // Locks all pages of a mapping of the object, which must outlive this. FailedPrecondition when
  // the object has memory that was never written or allocated, which locking would allocate;
  // PermissionDenied when pages have to be writable and the object was opened for reading;
  // ResourceExhausted when it cannot be watched; the errors of the pinning.
  static absl::StatusOr<std::unique_ptr<PinnedPages>> Pin(int fd, GuardedMapping& mapping,
                                                          const PagePinning& pinning);

  ~PinnedPages();
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;

  // Byte 0 of the mapping; null once Hold has been false.
  const char* memory() const { return lost_ ? nullptr : memory_; }

  // Whether the pages have been those of the object until now. Once they have not, never again.
  bool Hold();

 private:
  explicit PinnedPages(const char* memory) : memory_(memory) {}

  const char* const memory_;
  int watch_ = -1;  // of inotify; what it has to tell is never read, so that it tells every caller
  std::shared_ptr<void> pin_;
  std::atomic<bool> lost_{false};
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_
