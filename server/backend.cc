#include "server/backend.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "cuda/cuda_sampler.h"
#include "sampler/cpu_sampler.h"

namespace token_sampler {

namespace {

absl::StatusOr<Backend> CpuBackend(std::string reason) {
  absl::StatusOr<std::unique_ptr<Sampler>> sampler = CreateCpuSampler({});
  if (!sampler.ok()) return sampler.status();
  return Backend{*std::move(sampler), std::move(reason)};
}

}  // namespace

absl::StatusOr<Backend> CreateBackend(const std::string& device,
                                      std::function<void(const absl::Status&)> on_lost) {
  if (device == "cpu") return CpuBackend("asked for");
  absl::StatusOr<std::unique_ptr<Sampler>> cuda =
      CreateCudaSampler({.on_lost = std::move(on_lost)});
  if (cuda.ok()) return Backend{*std::move(cuda), device == "cuda" ? "asked for" : "found"};
  if (device == "cuda") {
    return absl::Status(cuda.status().code(),
                        absl::StrCat("--device=cuda: ", cuda.status().message()));
  }
  return CpuBackend(std::string(cuda.status().message()));
}

}  // namespace token_sampler
