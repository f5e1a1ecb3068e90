#include "server/regions/guarded_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

// What this thread copies from. Zero-initialised, so that a signal handler may read it.
thread_local GuardedMapping* copied_from = nullptr;

struct sigaction previous_action;

}  // namespace

void GuardedMapping::OnBusError(int, siginfo_t* info, void*) {
  GuardedMapping* const mapping = copied_from;
  if (mapping != nullptr) {
    const auto* const address = static_cast<const char*>(info->si_addr);
    const bool inside =
        address >= mapping->pages_ && address < mapping->pages_ + mapping->page_bytes_;
    if (inside && mapping->Replace()) return;
  }
  // Somebody else's: the access is tried again and meets what was set before.
  sigaction(SIGBUS, &previous_action, nullptr);
}

bool GuardedMapping::Replace() {
  broken_ = true;
  const int error = errno;
  const void* const replaced = mmap(pages_, page_bytes_, PROT_READ,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  errno = error;
  return replaced != MAP_FAILED;
}

absl::StatusOr<std::unique_ptr<GuardedMapping>> GuardedMapping::Create(int fd, uint64_t offset,
                                                                       uint64_t size) {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_sigaction = &GuardedMapping::OnBusError;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &previous_action) == 0;
  }();
  if (!installed) return absl::InternalError("the action for SIGBUS cannot be set");
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = offset % page;
  const uint64_t page_bytes = (begin + size + page - 1) / page * page;
  void* const pages =
      mmap(nullptr, page_bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset - begin));
  if (pages == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat(size, " bytes cannot be mapped: ", strerror(errno)));
  }
  return std::unique_ptr<GuardedMapping>(
      new GuardedMapping(static_cast<char*>(pages), page_bytes, begin));
}

bool GuardedMapping::AllowWrites() {
  return mprotect(pages_, page_bytes_, PROT_READ | PROT_WRITE) == 0;
}

GuardedMapping::~GuardedMapping() { munmap(pages_, page_bytes_); }

bool GuardedMapping::Copy(uint64_t offset, size_t size, char* to) {
  copied_from = this;
  // The signal comes in the midst of the copy, whatever a compiler makes of these lines.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(to, pages_ + begin_ + offset, size);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  copied_from = nullptr;
  return !broken_;
}

}  // namespace token_sampler
