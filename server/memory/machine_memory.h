// How much memory this process may use, so that it bounds itself before the kernel ends it.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace token_sampler {

// The machine's memory in bytes, or less if a cgroup of this process, of version 1 or 2, allows
// less. System files are read below `root`.
uint64_t MachineMemory(const std::string& root = "/");

// The default budget for callers: half of the memory. The rest is for the server itself and gRPC.
constexpr uint64_t DefaultMemoryBudget(uint64_t memory) { return memory / 2; }

// Bounds of what gRPC holds, in bytes.
struct TransportBounds {
  uint64_t quota = 0;       // of gRPC's resource quota
  uint64_t incomplete = 0;  // of incomplete messages, within the quota
};

// The bounds for a machine with this memory, this budget of callers and this wanted bound of
// incomplete messages. The quota is the last resort: beyond it gRPC ends connections without regard
// to whose they are. So it has room for all that is granted and for `incomplete` bytes besides.
// Budget and quota together leave a sixteenth of the memory free, unless that leaves less than 64
// MiB, the least quota.
constexpr TransportBounds BoundsOfTransport(uint64_t memory, uint64_t budget, uint64_t incomplete) {
  constexpr uint64_t kLeastQuota = uint64_t{64} << 20;
  const uint64_t usable = memory - memory / 16;
  const uint64_t left = usable > budget ? usable - budget : 0;
  const uint64_t wanted =
      budget + std::min(incomplete, std::numeric_limits<uint64_t>::max() - budget);
  const uint64_t quota = std::max(kLeastQuota, std::min(wanted, left));
  return {.quota = quota, .incomplete = std::min(incomplete, quota / 2)};
}

// The least limit of the visible cgroups of this process in bytes; 2^64 - 1 when none has a limit.
uint64_t CgroupMemory(const std::string& root);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
