// Memory that another process has registered. Calls that read it keep it alive.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "sampler/rows/row_source.h"

namespace token_sampler {

// Rows inside a region, in bytes.
struct RowBlock {
  uint64_t offset = 0;  // of row 0
  uint64_t rows = 0;    // >= 1
  uint64_t row_bytes = 0;
  uint64_t stride = 0;  // from row to row; >= row_bytes
};

// Thread-safe. Readers hold a shared_ptr.
class Region {
 public:
  explicit Region(uint64_t byte_size) : byte_size_(byte_size) {}
  virtual ~Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  uint64_t byte_size() const { return byte_size_; }

  // OutOfRange unless all rows are inside the region.
  absl::Status CheckBlock(const RowBlock& block) const;

  // Copies bytes [offset, offset + size) of a block that has passed CheckBlock().
  // FailedPrecondition when they are not there any more. The copied bytes are valid only if a later
  // CheckObject() returns OK.
  virtual absl::Status Copy(uint64_t offset, size_t size, char* to) const = 0;

  // True when some of bytes [offset, offset + size) have no memory yet: reading them from a mapping
  // would allocate it and charge it to the server. CopySparse() copies them more slowly and
  // allocates nothing.
  virtual bool HasHoles(uint64_t, uint64_t) const { return false; }
  virtual absl::Status CopySparse(uint64_t offset, size_t size, char* to) const {
    return Copy(offset, size, to);
  }

  // FailedPrecondition when the memory is no longer the one that was registered, or has become
  // shorter.
  virtual absl::Status CheckObject() const { return absl::OkStatus(); }

  // Copies as Copy() or, if there are holes, CopySparse() does, and then calls CheckObject(). The
  // first error.
  absl::Status Read(uint64_t offset, size_t size, char* to) const;

  // The user that owns the memory; -1 when that is not known.
  virtual int64_t owner() const { return -1; }

  // True when CheckObject() can never be OK again, whatever the owner does.
  virtual bool IsGone() const { return false; }

  // Writes `bytes` at `offset`, inside a block that has passed CheckBlock(). The errors of Read(),
  // and PermissionDenied when the server may only read the memory, as in this default.
  virtual absl::Status Write(uint64_t offset, absl::string_view bytes) const;

  // As the functions of RowSource.
  virtual const DeviceMemory* device_memory() const { return nullptr; }
  virtual const char* pinned_memory() const { return nullptr; }
  virtual bool Holds() const { return true; }

 private:
  friend class RegionRegistry;

  const uint64_t byte_size_;
  std::shared_ptr<void> released_;  // set once it is unregistered; the last reader releases it
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_H_
