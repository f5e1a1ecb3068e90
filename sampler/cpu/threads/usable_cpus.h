// How many CPUs this process may keep busy, so that no more threads are started.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace token_sampler::cpu {

struct UsableCpus {
  int count = 1;                 // >= 1
  absl::string_view limit = {};  // why not all of the machine's: "CPU affinity", "cgroup quota"
};

// The CPUs of the calling thread's affinity, or fewer where CgroupQuota is tighter; a part of a CPU
// counts as one.
UsableCpus FindUsableCpus(const std::string& root = "/");

// Seconds of CPU time per second that the cgroups of this process grant, whether of version 1 or 2:
// the least of its own group's and of those above that are visible. Infinity when none has a quota.
// The files of the system are looked for below `root`.
double CgroupQuota(const std::string& root);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_
