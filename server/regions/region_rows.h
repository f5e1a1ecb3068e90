// Rows of a call that are in a region. They are read when they are sampled: an earlier copy would
// be written to memory and read back.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "sampler/rows/row_source.h"
#include "server/batching/mutex.h"
#include "server/regions/region.h"

namespace token_sampler {

// Thread-safe. Offsets are relative to the region. Keeps the region alive.
class RegionRows final : public RowSource {
 public:
  // `block`, which has passed CheckBlock(), covers what will be read. `field` names the request's
  // field in errors.
  RegionRows(std::shared_ptr<const Region> region, const RowBlock& block, std::string field)
      : region_(std::move(region)),
        field_(std::move(field)),
        sparse_(
            region_->HasHoles(block.offset, (block.rows - 1) * block.stride + block.row_bytes)) {}

  const DeviceMemory* device_memory() const override { return region_->device_memory(); }
  const char* pinned_memory() const override { return region_->pinned_memory(); }
  bool Holds() const override { return region_->Holds(); }

  // Copies bytes of the block. The errors of Region::Copy() and CopySparse(), with the name of the
  // field.
  absl::Status Read(uint64_t offset, size_t size, char* to) const override;

  // The first error of Read(), or else the result of Region::CheckObject(). An error is the whole
  // call's, because the caller broke its memory, not a row. Call it once per call, after all reads:
  // that is enough and, for small rows, cheaper than asking the kernel about the object before
  // each.
  absl::Status Check() const;

 private:
  const std::shared_ptr<const Region> region_;
  const std::string field_;
  const bool sparse_;  // the block had holes when the call came: asked once for all rows
  mutable Mutex mutex_;
  mutable absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_
