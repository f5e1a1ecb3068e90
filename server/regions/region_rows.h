// Rows of a call that lie in a region, read when they are sampled: a copy made earlier would be
// written to memory and read back.

#ifndef TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_
#define TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "sampler/row_source.h"
#include "server/batching/mutex.h"
#include "server/regions/region.h"

namespace token_sampler {

// Thread-safe. Offsets are those of the region. The region cannot go before this does.
class RegionRows final : public RowSource {
 public:
  // `block`, which has passed CheckBlock, is what will be read. `field` is the name of the
  // request's field, for errors.
  RegionRows(std::shared_ptr<const Region> region, const RowBlock& block, std::string field)
      : region_(std::move(region)),
        field_(std::move(field)),
        sparse_(
            region_->HasHoles(block.offset, (block.rows - 1) * block.stride + block.row_bytes)) {}

  const DeviceMemory* device_memory() const override { return region_->device_memory(); }
  const char* pinned_memory() const override { return region_->pinned_memory(); }
  bool Holds() const override { return region_->Holds(); }

  // The errors of Region::Copy.
  absl::Status Read(uint64_t offset, size_t size, char* to) const override;

  // The first error of Read, or else of Region::CheckObject: that of the whole call, because the
  // caller broke its memory, not a row. Once per call and behind its reads, which is enough and,
  // for small rows, costs less than to ask the kernel about the object before each.
  absl::Status Check() const;

 private:
  // With the name of the field.
  absl::Status Named(const absl::Status& status) const;

  const std::shared_ptr<const Region> region_;
  const std::string field_;
  const bool sparse_;  // when the call came: asked once, for all rows
  mutable Mutex mutex_;
  mutable absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_REGIONS_REGION_ROWS_H_
