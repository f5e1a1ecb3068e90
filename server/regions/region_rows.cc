#include "server/regions/region_rows.h"

#include "absl/strings/str_cat.h"

namespace token_sampler {

absl::Status RegionRows::Read(uint64_t offset, size_t size, char* to) const {
  const absl::Status status = region_->Read(offset, size, to);
  if (status.ok()) return status;
  absl::Status named(status.code(), absl::StrCat(field_, ": ", status.message()));
  const MutexLock lock(mutex_);
  failure_.Update(named);
  return named;
}

absl::Status RegionRows::failure() const {
  const MutexLock lock(mutex_);
  return failure_;
}

}  // namespace token_sampler
