#include "server/regions/region_rows.h"

#include "absl/strings/str_cat.h"

namespace token_sampler {

absl::Status RegionRows::Read(uint64_t offset, size_t size, char* to) const {
  const absl::Status status =
      sparse_ ? region_->CopySparse(offset, size, to) : region_->Copy(offset, size, to);
  if (status.ok()) return status;
  absl::Status named = Named(status);
  const MutexLock lock(mutex_);
  failure_.Update(named);
  return named;
}

absl::Status RegionRows::Check() const {
  {
    const MutexLock lock(mutex_);
    if (!failure_.ok()) return failure_;
  }
  return Named(region_->CheckObject());
}

absl::Status RegionRows::Named(const absl::Status& status) const {
  return status.ok() ? status
                     : absl::Status(status.code(), absl::StrCat(field_, ": ", status.message()));
}

}  // namespace token_sampler
