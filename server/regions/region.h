// Shared memory of another process, read through its descriptor and never through a mapping.
//
// A mapping would be faster by one copy and would put the server at the mercy of the process that
// owns the memory: a truncated object raises SIGBUS, and values that change between two passes over
// a row break what the sampler has checked. pread has neither, and says how much it got.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

// Rows inside a region, in bytes.
struct RowBlock {
  uint64_t offset = 0;  // of row 0
  uint64_t rows = 0;    // >= 1
  uint64_t row_bytes = 0;
  uint64_t stride = 0;  // from row to row, >= row_bytes
};

// Immutable and thread-safe. Whoever reads holds a shared_ptr.
class Region {
 public:
  // Opens the shared-memory object of this name, which must be a plain one below no folder.
  // NotFound when there is none, PermissionDenied when the server may not read it, OutOfRange when
  // it is smaller than offset + byte_size.
  static absl::StatusOr<std::shared_ptr<Region>> Open(const std::string& key, uint64_t offset,
                                                      uint64_t byte_size);

  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  const std::string& key() const { return key_; }
  uint64_t offset() const { return offset_; }
  uint64_t byte_size() const { return byte_size_; }

  // OutOfRange when the rows do not lie inside the region.
  absl::Status CheckBlock(const RowBlock& block) const;

  // Copies the rows, one behind the other, to `values`, which has rows * row_bytes bytes. The block
  // must have passed CheckBlock. FailedPrecondition when the object was truncated, unlinked or
  // replaced since it was registered.
  absl::Status Read(const RowBlock& block, char* values) const;

 private:
  friend class RegionRegistry;

  Region(int fd, std::string key, uint64_t offset, uint64_t byte_size)
      : fd_(fd), key_(std::move(key)), offset_(offset), byte_size_(byte_size) {}

  const int fd_;
  const std::string key_;
  const uint64_t offset_;  // inside the object
  const uint64_t byte_size_;
  std::shared_ptr<void> released_;  // set once it is unregistered: goes with the last reader
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_
