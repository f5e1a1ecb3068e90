// Chooses the sampler that the server runs. The only file of the server that names backends.

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
  std::string reason;                  // why this one, for the log
  OpenCudaRegion open_cuda = nullptr;  // null when the sampler reads no device memory
  PagePinning pinning = {};            // empty when it has no use for pinned memory
};

// `device` is auto, cpu or cuda. cuda never falls back: FailedPrecondition says why there is none.
// `threads` are those of the CPU sampler, which CUDA has too; 0: as many as this process has CPUs.
// `on_lost` is called once, on any thread, when the sampler cannot sample any more.
absl::StatusOr<Backend> CreateBackend(const std::string& device, int threads,
                                      std::function<void(const absl::Status&)> on_lost);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_BACKEND_H_
