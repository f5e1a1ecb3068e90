// How much memory this process may use, so that it bounds itself before the kernel ends it.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_

#include <cstdint>
#include <string>

namespace token_sampler {

// Bytes: the machine's memory, or less where a cgroup of this process, of version 1 or 2, allows
// less. The files of the system are looked for below `root`.
uint64_t MachineMemory(const std::string& root = "/");

// The default budget of callers, of so much memory: half, for the rest is the
// server's own and gRPC's.
constexpr uint64_t DefaultMemoryBudget(uint64_t memory) { return memory / 2; }

// The least that the cgroups of this process allow, of those that are visible; 2^64 - 1 when none
// has a limit.
uint64_t CgroupMemory(const std::string& root);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_MACHINE_MEMORY_H_
