// The CPU sampler: SIMD and threads, equal to the reference sampler bit for bit.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_CPU_SAMPLER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_CPU_SAMPLER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"

namespace token_sampler {

inline constexpr int kMaxCpuThreads = 1024;

struct CpuSamplerOptions {
  int threads = 0;          // 1 .. kMaxCpuThreads, including the calling thread; 0: one per CPU
                            // that affinity and cgroup quotas allow, and device() names that limit
  std::string target = {};  // one of CpuSamplerTargets(); empty: the first
};

// Returns the names of the SIMD targets that this machine can run, the fastest first. The last one
// is portable.
std::vector<std::string> CpuSamplerTargets();

// Creates the sampler; InvalidArgument if an option is invalid. The sampler starts its own threads.
// They share the rows of a batch, or the tokens of a long row if there are fewer rows than threads.
absl::StatusOr<std::unique_ptr<Sampler>> CreateCpuSampler(const CpuSamplerOptions& options);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_CPU_SAMPLER_H_
