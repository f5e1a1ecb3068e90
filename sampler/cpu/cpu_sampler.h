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
  int threads = 0;          // 1 .. kMaxCpuThreads, the calling thread included; 0: one per CPU that
                            // affinity and cgroup quotas leave this process, and device() says so
  std::string target = {};  // one of CpuSamplerTargets(); empty: the first of them
};

// Names of the SIMD targets that this machine can run, the fastest first. The last is portable.
std::vector<std::string> CpuSamplerTargets();

// InvalidArgument when an option is outside its range. The sampler makes its own threads, which
// share the rows of a batch, or a long row's tokens where there are fewer rows than threads.
absl::StatusOr<std::unique_ptr<Sampler>> CreateCpuSampler(const CpuSamplerOptions& options);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_CPU_SAMPLER_H_
