#include "server/regions/region_rows.h"

#include "server/codec/invalid_argument.h"

namespace token_sampler {

absl::Status RegionRows::Read(uint64_t offset, size_t size, char* to) const {
  const absl::Status status =
      sparse_ ? region_->CopySparse(offset, size, to) : region_->Copy(offset, size, to);
  if (status.ok()) return status;
  absl::Status named = NamedStatus(field_, status);
  const MutexLock lock(mutex_);
  failure_.Update(named);
  return named;
}

absl::Status RegionRows::Check() const {
  {
    const MutexLock lock(mutex_);
    if (!failure_.ok()) return failure_;
  }
  return NamedStatus(field_, region_->CheckObject());
}

}  // namespace token_sampler
