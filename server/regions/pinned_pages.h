// The pages of a shared-memory object, locked so that a device copies from them by DMA.
//
// When the owner cuts the object or frees some of it, locked pages stay, but no longer belong to
// the object: if it grows again, it gets others. The copy does not show this, and neither do the
// size and the times of the object reliably. inotify does: it reports cutting, punching holes and
// writing through a descriptor as modifications, but not writing to a mapping.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/regions/guarded_mapping.h"

namespace token_sampler {

// Locks pages, until the last copy of the returned pointer is gone.
struct PagePinning {
  std::function<absl::StatusOr<std::shared_ptr<void>>(const char* pages, size_t size)> pin =
      nullptr;
  bool needs_write = false;  // pin() takes only pages that the process may write
};

// Thread-safe.
class PinnedPages {
 public:
  // Locks all pages of `mapping`, a mapping of the object `fd`, which must outlive the result.
  // FailedPrecondition when parts of the object were never written or allocated, which locking
  // would allocate; PermissionDenied when pages have to be writable and the object was opened for
  // reading; ResourceExhausted when it cannot be watched; the errors of `pinning`.
  static absl::StatusOr<std::unique_ptr<PinnedPages>> Pin(int fd, GuardedMapping& mapping,
                                                          const PagePinning& pinning);

  ~PinnedPages();
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;

  // Byte 0 of the mapping; null once Hold() has returned false.
  const char* memory() const { return lost_ ? nullptr : memory_; }

  // True while the locked pages are known to be the object's. Once false, always false.
  bool Hold();

 private:
  explicit PinnedPages(const char* memory) : memory_(memory) {}

  const char* const memory_;
  int watch_ = -1;  // of inotify; its events are never read, so every poll sees them
  std::shared_ptr<void> pin_;
  std::atomic<bool> lost_{false};
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_PINNED_PAGES_H_
