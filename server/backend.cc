#include "server/backend.h"

#include "absl/strings/str_cat.h"
#include "cuda/cuda_sampler.h"
#include "sampler/reference_sampler.h"

namespace token_sampler {

absl::StatusOr<Backend> CreateBackend(const std::string& device) {
  if (device == "cpu") return Backend{CreateReferenceSampler(), "asked for"};
  absl::StatusOr<std::unique_ptr<Sampler>> cuda = CreateCudaSampler();
  if (cuda.ok()) return Backend{*std::move(cuda), device == "cuda" ? "asked for" : "found"};
  if (device == "cuda") {
    return absl::Status(cuda.status().code(),
                        absl::StrCat("--device=cuda: ", cuda.status().message()));
  }
  return Backend{CreateReferenceSampler(), std::string(cuda.status().message())};
}

}  // namespace token_sampler
