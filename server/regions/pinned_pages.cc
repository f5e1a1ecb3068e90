#include "server/regions/pinned_pages.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

// FailedPrecondition if the object has holes: locking would allocate them for the server, as much
// as the owner claims by the size.
absl::Status CheckAllocated(int fd) {
  constexpr uint64_t kBlockBytes = 512;  // of st_blocks
  struct stat info;
  if (fstat(fd, &info) != 0) return absl::InternalError(strerror(errno));
  const uint64_t allocated = static_cast<uint64_t>(info.st_blocks) * kBlockBytes;
  const auto size = static_cast<uint64_t>(info.st_size);
  if (allocated >= size) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the object has ", Counted(size, "byte"), " and memory for ", allocated,
                   ": its owner must write or allocate (posix_fallocate) all of it before"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PinnedPages>> PinnedPages::Pin(int fd, GuardedMapping& mapping,
                                                              const PagePinning& pinning) {
  std::unique_ptr<PinnedPages> pages(new PinnedPages(mapping.pages() + mapping.begin()));
  pages->watch_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  if (pages->watch_ < 0 || inotify_add_watch(pages->watch_, path.c_str(), IN_MODIFY) < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("inotify cannot watch the object: ", strerror(errno)));
  }
  // After the watch begins: whatever the owner frees from now on is seen.
  RETURN_IF_ERROR(CheckAllocated(fd));
  if (pinning.needs_write && !mapping.AllowWrites()) {
    return absl::PermissionDeniedError(
        "a device needs memory that the server may write, and the server may only read this "
        "object");
  }
  ASSIGN_OR_RETURN(pages->pin_, pinning.pin(mapping.pages(), mapping.page_bytes()));
  return pages;
}

PinnedPages::~PinnedPages() {
  if (watch_ >= 0) close(watch_);
}

bool PinnedPages::Hold() {
  pollfd modified = {.fd = watch_, .events = POLLIN, .revents = 0};
  // If poll itself fails, do not trust the pages.
  if (!lost_ && poll(&modified, 1, 0) != 0) lost_ = true;
  return !lost_;
}

}  // namespace token_sampler
