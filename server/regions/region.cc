#include "server/regions/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

// What offset, size and object agree on. Offsets of files are signed.
constexpr uint64_t kMaxOffset = uint64_t{1} << 62;

absl::Status OpenError(const std::string& key, int error) {
  const std::string message = absl::StrCat("key \"", key, "\" cannot be opened: ", strerror(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  if (error == EMFILE || error == ENFILE || error == ENOMEM) {
    return absl::ResourceExhaustedError(message);
  }
  return absl::InvalidArgumentError(message);
}

absl::Status Truncated(const std::string& key, uint64_t needed) {
  return absl::FailedPreconditionError(absl::StrCat(
      "object \"", key, "\" was truncated below the ", needed,
      " bytes that it was registered with; unregister the region and register it anew"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Region>> Region::Open(const std::string& key, uint64_t offset,
                                                     uint64_t byte_size) {
  // O_NONBLOCK: an open that finds a FIFO must not wait for its writer.
  const int fd = shm_open(key.c_str(), O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0) return OpenError(key, errno);
  std::shared_ptr<Region> region(new Region(fd, key, offset, byte_size));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("key \"", key, "\" must name a shared-memory object"));
  }
  const auto size = static_cast<uint64_t>(info.st_size);
  if (offset > kMaxOffset || byte_size > size || offset > size - byte_size) {
    return absl::OutOfRangeError(absl::StrCat("offset ", offset, " and byte_size ", byte_size,
                                              " must lie inside the ", size, " bytes of \"", key,
                                              "\""));
  }
  return region;
}

Region::~Region() { close(fd_); }

absl::Status Region::CheckBlock(const RowBlock& block) const {
  bool inside = block.row_bytes <= byte_size_ && block.offset <= byte_size_ - block.row_bytes;
  if (inside && block.rows > 1) {
    const uint64_t rest = byte_size_ - block.row_bytes - block.offset;
    inside = block.stride > 0 && block.rows - 1 <= rest / block.stride;
  }
  if (inside) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(block.rows, " rows of ", block.row_bytes,
                                            " bytes, one every ", block.stride,
                                            " bytes, must lie inside the region of ", byte_size_,
                                            " bytes from offset ", block.offset, " on"));
}

absl::Status Region::Read(const RowBlock& block, char* values) const {
  struct stat info;
  if (fstat(fd_, &info) != 0) {
    return absl::InternalError(absl::StrCat("object \"", key_, "\": ", strerror(errno)));
  }
  if (info.st_nlink == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("object \"", key_,
                     "\" was unlinked or replaced since it was registered; "
                     "unregister the region and register it anew"));
  }
  // All at once where nothing lies between the rows.
  const bool dense = block.stride == block.row_bytes || block.rows == 1;
  const uint64_t pieces = dense ? 1 : block.rows;
  const uint64_t piece_bytes = dense ? block.rows * block.row_bytes : block.row_bytes;
  for (uint64_t piece = 0; piece < pieces; ++piece) {
    uint64_t from = offset_ + block.offset + piece * block.stride;
    uint64_t left = piece_bytes;
    while (left > 0) {
      const ssize_t got = pread(fd_, values, left, static_cast<off_t>(from));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        return absl::InternalError(absl::StrCat("object \"", key_, "\": ", strerror(errno)));
      }
      if (got == 0) return Truncated(key_, offset_ + byte_size_);
      values += got;
      from += static_cast<uint64_t>(got);
      left -= static_cast<uint64_t>(got);
    }
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
