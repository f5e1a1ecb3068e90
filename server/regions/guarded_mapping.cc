#include "server/regions/guarded_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace token_sampler {

// An entry of the list of mappings. Entries are reused and never freed, so that the signal handler
// may walk the list at any time.
struct GuardedMapping::Listed {
  std::atomic<uintptr_t> begin{0};  // of the pages
  std::atomic<size_t> bytes{0};     // 0: the entry is free
  std::atomic<GuardedMapping*> mapping{nullptr};
  Listed* next = nullptr;

  // One thread at a time changes the list, under `mutex`.
  static Listed& Add(GuardedMapping& mapping);
  void Remove();

  // The mapping whose pages contain the address, or null. Its reader keeps it alive.
  static GuardedMapping* Find(uintptr_t address);

 private:
  static std::mutex mutex;
  static std::atomic<Listed*> first;
};

std::mutex GuardedMapping::Listed::mutex;
std::atomic<GuardedMapping::Listed*> GuardedMapping::Listed::first{nullptr};

GuardedMapping::Listed& GuardedMapping::Listed::Add(GuardedMapping& mapping) {
  const std::lock_guard<std::mutex> lock(mutex);
  Listed* place = first;
  while (place != nullptr && place->bytes != 0) place = place->next;
  if (place == nullptr) {
    place = new Listed;
    place->next = first;
    first = place;
  }
  place->mapping = &mapping;
  place->begin = reinterpret_cast<uintptr_t>(mapping.pages_);
  place->bytes = mapping.page_bytes_;
  return *place;
}

void GuardedMapping::Listed::Remove() {
  const std::lock_guard<std::mutex> lock(mutex);
  bytes = 0;
}

GuardedMapping* GuardedMapping::Listed::Find(uintptr_t address) {
  for (Listed* place = first; place != nullptr; place = place->next) {
    const uintptr_t begin = place->begin;
    const bool inside = address >= begin && address - begin < place->bytes;
    // If `begin` changed, the size may belong to a mapping that has taken the entry meanwhile.
    if (inside && place->begin == begin) return place->mapping;
  }
  return nullptr;
}

namespace {

struct sigaction previous_action;

}  // namespace

void GuardedMapping::OnBusError(int, siginfo_t* info, void*) {
  GuardedMapping* const mapping = Listed::Find(reinterpret_cast<uintptr_t>(info->si_addr));
  if (mapping != nullptr && mapping->Replace()) return;
  // The address is in no mapping: restore the previous action, which the repeated access then
  // meets.
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
  if (!installed) return absl::InternalError("cannot install the handler of SIGBUS");
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

GuardedMapping::GuardedMapping(char* pages, size_t page_bytes, size_t begin)
    : pages_(pages), page_bytes_(page_bytes), begin_(begin), listed_(Listed::Add(*this)) {}

GuardedMapping::~GuardedMapping() {
  listed_.Remove();
  munmap(pages_, page_bytes_);
}

bool GuardedMapping::Copy(uint64_t offset, size_t size, char* to) {
  std::memcpy(to, pages_ + begin_ + offset, size);
  // The handler runs during the copy: the compiler must not read broken_ before it.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return !broken_;
}

}  // namespace token_sampler
