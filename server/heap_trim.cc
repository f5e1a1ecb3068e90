#include "server/heap_trim.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

namespace token_sampler {
namespace {

// So much free memory is not worth the time: as much is soon taken again.
constexpr uint64_t kFreeBytesToKeep = uint64_t{64} << 20;

constexpr std::chrono::seconds kBetweenLooks{1};

}  // namespace

uint64_t ResidentBytes() {
  uint64_t pages = 0;
  uint64_t resident = 0;
  uint64_t shared = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident >> shared;
  return (resident - shared) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t FreeResidentBytes() {
  const uint64_t resident = ResidentBytes();
  const struct mallinfo2 heap = mallinfo2();
  // Blocks that are mapped by themselves go back by themselves.
  const uint64_t used = heap.uordblks + heap.hblkhd;
  return resident > used ? resident - used : 0;
}

void TrimHeap() { malloc_trim(0); }

bool TrimPolicy::Look(uint64_t free) {
  left_ = std::min(left_, free);
  const bool is_free = free - left_ > kFreeBytesToKeep;
  const bool due = is_free && was_free_;
  was_free_ = is_free;
  return due;
}

void TrimPolicy::Trimmed(uint64_t free, uint64_t given_back) {
  if (given_back < kFreeBytesToKeep) left_ = free;
}

void KeepHeapTrimmed() {
  std::thread([] {
    TrimPolicy policy;
    for (;;) {
      std::this_thread::sleep_for(kBetweenLooks);
      const uint64_t before = ResidentBytes();
      if (before < kFreeBytesToKeep) continue;
      const uint64_t free = FreeResidentBytes();
      if (!policy.Look(free)) continue;
      TrimHeap();
      const uint64_t after = ResidentBytes();
      policy.Trimmed(free, before > after ? before - after : 0);
    }
  }).detach();
}

}  // namespace token_sampler
