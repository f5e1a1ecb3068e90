// Finds how many CPUs this process may keep busy, so that no more threads are started.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace token_sampler::cpu {

struct UsableCpus {
  int count = 1;                 // >= 1
  absl::string_view limit = {};  // if not all CPUs of the machine: "CPU affinity" or "cgroup quota"
};

// Returns the number of CPUs of the calling thread's affinity, or CgroupQuota, rounded up, if that
// is lower.
UsableCpus FindUsableCpus(const std::string& root = "/");

// Returns the seconds of CPU time per second that the cgroups of this process, of version 1 or 2,
// grant: the least quota of its own group and its visible ancestors; infinity if none has one.
// System files are read below `root`.
double CgroupQuota(const std::string& root);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_USABLE_CPUS_H_
