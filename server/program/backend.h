// Chooses and creates the sampler that the server runs. No other file of the server creates one.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_BACKEND_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_BACKEND_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sampler/sampler.h"
#include "server/regions/pinned_pages.h"
#include "server/regions/region_registry.h"

namespace token_sampler {

struct Backend {
  std::unique_ptr<Sampler> sampler;
  std::string reason;                  // why this sampler, for the log
  OpenCudaRegion open_cuda = nullptr;  // null if the sampler does not read device memory
  PagePinning pinning = {};            // empty if it does not use pinned memory
};

// `device` is auto, cpu or cuda. If it is cuda and CUDA is not available, returns
// FailedPrecondition with the reason instead of falling back. `threads` is the number of threads of
// the CPU sampler, which the CUDA sampler has too; 0: one per CPU of this process. Calls `on_lost`
// once, on any thread, when the sampler cannot sample any more.
absl::StatusOr<Backend> CreateBackend(const std::string& device, int threads,
                                      std::function<void(const absl::Status&)> on_lost);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_BACKEND_H_
