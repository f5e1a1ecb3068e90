#include "server/regions/system_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

// The largest accepted offset: offsets of files are signed.
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

// True when the user may do what `of_owner`, S_IRUSR or S_IWUSR, says. The kernel has already
// checked that the server's user may. The user's groups are not known here, so an object that is
// not the user's own must be open both to its group and to all others. Without a user: what the
// server's user may do; if that is root, what it could do as another user.
bool May(std::optional<uid_t> user, const struct stat& info, mode_t of_owner) {
  if (user == 0) return true;
  if (user.has_value()) {
    const mode_t of_all = (of_owner >> 3) | (of_owner >> 6);
    return info.st_uid == user ? (info.st_mode & of_owner) != 0 : (info.st_mode & of_all) == of_all;
  }
  if (geteuid() != 0 || info.st_uid == 0) return true;
  const bool in_group = info.st_gid == getegid();
  return (info.st_mode & (in_group ? of_owner >> 3 : of_owner >> 6)) != 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<SystemRegion>> SystemRegion::Open(const std::string& key,
                                                                 uint64_t offset,
                                                                 uint64_t byte_size,
                                                                 std::optional<uid_t> user) {
  // O_NONBLOCK: an open that finds a FIFO must not wait for its writer.
  int fd = shm_open(key.c_str(), O_RDWR | O_NONBLOCK, 0);
  const bool writable = fd >= 0;
  if (!writable) fd = shm_open(key.c_str(), O_RDONLY | O_NONBLOCK, 0);
  if (fd < 0) return OpenError(key, errno);
  std::shared_ptr<SystemRegion> region(new SystemRegion(fd, writable, key, offset, byte_size));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("key \"", key, "\" must name a shared-memory object"));
  }
  if (!May(user, info, S_IRUSR)) return OpenError(key, EACCES);
  region->writable_ = writable && May(user, info, S_IWUSR);
  region->owner_ = static_cast<int64_t>(info.st_uid);
  const auto size = static_cast<uint64_t>(info.st_size);
  if (offset > kMaxOffset || byte_size > size || offset > size - byte_size) {
    return absl::OutOfRangeError(absl::StrCat("offset ", offset, " and byte_size ", byte_size,
                                              " must lie inside the ", Counted(size, "byte"),
                                              " of \"", key, "\""));
  }
  absl::StatusOr<std::unique_ptr<GuardedMapping>> mapping =
      GuardedMapping::Create(fd, offset, byte_size);
  if (!mapping.ok()) {
    return absl::Status(mapping.status().code(),
                        absl::StrCat("key \"", key, "\": ", mapping.status().message()));
  }
  region->mapping_ = *std::move(mapping);
  return region;
}

SystemRegion::~SystemRegion() { close(fd_); }

absl::Status SystemRegion::Pin(const PagePinning& pinning, Ledger* ledger) {
  MemoryGrant& memory = pinned_memory_.emplace(ledger, Account::kRegions);
  RETURN_IF_ERROR(memory.Grow(mapping_->page_bytes()));
  absl::StatusOr<std::unique_ptr<PinnedPages>> pages = PinnedPages::Pin(fd_, *mapping_, pinning);
  if (!pages.ok()) {
    memory.ShrinkTo(0);
    return pages.status();
  }
  pinned_pages_ = *std::move(pages);
  pinned_.store(pinned_pages_.get(), std::memory_order_release);
  return absl::OkStatus();
}

const char* SystemRegion::pinned_memory() const {
  const PinnedPages* const pages = pinned_.load(std::memory_order_acquire);
  return pages == nullptr ? nullptr : pages->memory();
}

bool SystemRegion::Holds() const {
  PinnedPages* const pages = pinned_.load(std::memory_order_acquire);
  return pages == nullptr || pages->Hold();
}

absl::Status SystemRegion::CheckObject() const {
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
  return static_cast<uint64_t>(info.st_size) < offset_ + byte_size() ? Truncated()
                                                                     : absl::OkStatus();
}

absl::Status SystemRegion::Truncated() const {
  return absl::FailedPreconditionError(absl::StrCat(
      "object \"", key_, "\" was truncated below the ", Counted(offset_ + byte_size(), "byte"),
      " that it was registered with; unregister the region and register it anew"));
}

bool SystemRegion::IsGone() const {
  struct stat info;
  return fstat(fd_, &info) == 0 && info.st_nlink == 0;
}

absl::Status SystemRegion::Copy(uint64_t offset, size_t size, char* to) const {
  return mapping_->Copy(offset, size, to) ? absl::OkStatus() : Truncated();
}

bool SystemRegion::HasHoles(uint64_t offset, uint64_t size) const {
  constexpr uint64_t kBlockBytes = 512;  // of st_blocks
  struct stat info;
  if (fstat(fd_, &info) != 0) return true;
  if (static_cast<uint64_t>(info.st_blocks) * kBlockBytes >= static_cast<uint64_t>(info.st_size)) {
    return false;
  }
  // This takes time linear in the pages, but far less than copying them.
  const off_t hole = lseek(fd_, static_cast<off_t>(offset_ + offset), SEEK_HOLE);
  return hole < 0 || static_cast<uint64_t>(hole) < offset_ + offset + size;
}

absl::Status SystemRegion::CopySparse(uint64_t offset, size_t size, char* to) const {
  uint64_t from = offset_ + offset;
  while (size > 0) {
    const ssize_t got = pread(fd_, to, size, static_cast<off_t>(from));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return absl::InternalError(absl::StrCat("object \"", key_, "\": ", strerror(errno)));
    }
    if (got == 0) return Truncated();
    from += static_cast<uint64_t>(got);
    to += got;
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status SystemRegion::Write(uint64_t offset, absl::string_view bytes) const {
  if (!writable_) {
    return absl::PermissionDeniedError(
        absl::StrCat("object \"", key_, "\" is read-only for the server"));
  }
  // A write past the end would make the object larger.
  RETURN_IF_ERROR(CheckObject());
  uint64_t to = offset_ + offset;
  while (!bytes.empty()) {
    const ssize_t put = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(to));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      return absl::InternalError(absl::StrCat("object \"", key_, "\": ", strerror(errno)));
    }
    to += static_cast<uint64_t>(put);
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
