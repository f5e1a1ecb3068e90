#include "server/regions/region.h"

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"

namespace token_sampler {

absl::Status Region::CheckBlock(const RowBlock& block) const {
  bool inside = block.row_bytes <= byte_size_ && block.offset <= byte_size_ - block.row_bytes;
  if (inside && block.rows > 1) {
    const uint64_t rest = byte_size_ - block.row_bytes - block.offset;
    inside = block.stride > 0 && block.rows - 1 <= rest / block.stride;
  }
  if (inside) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      Counted(block.rows, "row"), " of ", Counted(block.row_bytes, "byte"), ", one every ",
      Counted(block.stride, "byte"), ", must lie inside the region of ",
      Counted(byte_size_, "byte"), " from offset ", block.offset, " on"));
}

absl::Status Region::Write(uint64_t, absl::string_view) const {
  return absl::PermissionDeniedError("the server may only read the region");
}

absl::Status Region::Read(uint64_t offset, size_t size, char* to) const {
  absl::Status status =
      HasHoles(offset, size) ? CopySparse(offset, size, to) : Copy(offset, size, to);
  status.Update(CheckObject());
  return status;
}

}  // namespace token_sampler
