// How much memory this process may use, so that it bounds itself before the kernel ends it.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace token_sampler {

// Bytes: the machine's memory, or less where a cgroup of this process, of version 1 or 2, allows
// less. The files of the system are looked for below `root`.
uint64_t MachineMemory(const std::string& root = "/");

// The default budget of callers, of so much memory: half, for the rest is the
// server's own and gRPC's.
constexpr uint64_t DefaultMemoryBudget(uint64_t memory) { return memory / 2; }

// Bounds of what gRPC holds, in bytes.
struct TransportBounds {
  uint64_t quota = 0;       // of gRPC's resource quota
  uint64_t incomplete = 0;  // of messages that are still coming in, within it
};

// With so much memory and such a budget of callers. The quota is the last resort, beyond which gRPC
// ends connections without regard to whose they are: it holds all that is granted and `incomplete`
// bytes besides. Budget and quota leave a sixteenth of the memory, as far as a quota of 64 MiB
// does.
constexpr TransportBounds BoundsOfTransport(uint64_t memory, uint64_t budget, uint64_t incomplete) {
  constexpr uint64_t kLeastQuota = uint64_t{64} << 20;
  const uint64_t usable = memory - memory / 16;
  const uint64_t left = usable > budget ? usable - budget : 0;
  const uint64_t wanted =
      budget + std::min(incomplete, std::numeric_limits<uint64_t>::max() - budget);
  const uint64_t quota = std::max(kLeastQuota, std::min(wanted, left));
  return {.quota = quota, .incomplete = std::min(incomplete, quota / 2)};
}

// The least that the cgroups of this process allow, of those that are visible; 2^64 - 1 when none
// has a limit.
uint64_t CgroupMemory(const std::string& root);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
