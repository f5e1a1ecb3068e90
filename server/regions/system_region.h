// A POSIX shared-memory object of another process. Rows are copied before they are used, by the CPU
// or by a device: values that change between two passes over a row would break what the sampler has
// checked.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_SYSTEM_REGION_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_SYSTEM_REGION_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/memory/ledger.h"
#include "server/regions/guarded_mapping.h"
#include "server/regions/pinned_pages.h"
#include "server/regions/region.h"

namespace token_sampler {

class SystemRegion final : public Region {
 public:
  // Opens the shared-memory object `key` for `user`. NotFound when there is none; PermissionDenied
  // when the server or the user may not read it. Since the user's groups are not known, read
  // permission for the group helps only if all others have it too. Without a user, PermissionDenied
  // when the server could read another user's object only because it runs as root. InvalidArgument
  // when `key` names no plain object; OutOfRange when the object is smaller than offset +
  // byte_size; ResourceExhausted when descriptors or memory run out.
  static absl::StatusOr<std::shared_ptr<SystemRegion>> Open(const std::string& key, uint64_t offset,
                                                            uint64_t byte_size,
                                                            std::optional<uid_t> user = {});

  ~SystemRegion() override;

  // Page-locks the region if `ledger` grants its pages; call it at most once. On an error the
  // region is as before, and is read without pinning. A write through a descriptor of the object,
  // such as Write()'s, ends the use of the pinned pages: see PinnedPages.
  absl::Status Pin(const PagePinning& pinning, Ledger* ledger = nullptr);

  // FailedPrecondition when the object was truncated, unlinked or replaced since it was opened.
  absl::Status CheckObject() const override;
  absl::Status Copy(uint64_t offset, size_t size, char* to) const override;
  bool HasHoles(uint64_t offset, uint64_t size) const override;
  absl::Status CopySparse(uint64_t offset, size_t size, char* to) const override;
  int64_t owner() const override { return owner_; }
  bool IsGone() const override;
  const char* pinned_memory() const override;
  bool Holds() const override;
  absl::Status Write(uint64_t offset, absl::string_view bytes) const override;

 private:
  SystemRegion(int fd, bool writable, std::string key, uint64_t offset, uint64_t byte_size)
      : Region(byte_size), fd_(fd), writable_(writable), key_(std::move(key)), offset_(offset) {}

  absl::Status Truncated() const;

  const int fd_;
  bool writable_;
  const std::string key_;
  const uint64_t offset_;  // inside the object
  int64_t owner_ = -1;
  std::unique_ptr<GuardedMapping> mapping_;
  std::optional<MemoryGrant> pinned_memory_;
  std::unique_ptr<PinnedPages> pinned_pages_;  // destroyed before the mapping
  std::atomic<PinnedPages*> pinned_{nullptr};  // the same, once set
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_SYSTEM_REGION_H_
