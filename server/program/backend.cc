#include "server/program/backend.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cuda/cuda_sampler.h"
#include "cuda/memory/ipc_memory.h"
#include "cuda/memory/pinned_memory.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/status_macros.h"

namespace token_sampler {

namespace {

// A region in the device memory of another process.
class CudaRegion final : public Region {
 public:
  static absl::StatusOr<std::shared_ptr<Region>> Open(const CudaRegionRequest& request) {
    ASSIGN_OR_RETURN(std::unique_ptr<IpcMemory> memory,
                     IpcMemory::Open(request.device, request.handle, request.event,
                                     {.offset = request.offset, .byte_size = request.byte_size}));
    return std::make_shared<CudaRegion>(std::move(memory), request.byte_size);
  }

  CudaRegion(std::unique_ptr<IpcMemory> memory, uint64_t byte_size)
      : Region(byte_size), memory_(std::move(memory)) {}

  const DeviceMemory* device_memory() const override { return &memory_->place(); }
  absl::Status Copy(uint64_t offset, size_t size, char* to) const override {
    return memory_->Read(offset, size, to);
  }

 private:
  const std::unique_ptr<IpcMemory> memory_;
};

PagePinning PinForCuda() {
  const bool read_only = PinnedMemory::TakesReadOnly();
  const auto pin = [read_only](const char* pages,
                               size_t size) -> absl::StatusOr<std::shared_ptr<void>> {
    ASSIGN_OR_RETURN(std::unique_ptr<PinnedMemory> pinned,
                     PinnedMemory::Pin(pages, size, read_only));
    return std::shared_ptr<PinnedMemory>(std::move(pinned));
  };
  return {.pin = pin, .needs_write = !read_only};
}

void LogFallback(absl::string_view reason) {
  spdlog::warn("the CUDA kernel does not support {}: rows with it are sampled on the CPU",
               std::string(reason));
}

// The vocabulary size of the rows with which a trial compares CPU and CUDA.
constexpr size_t kMeasuredVocab = size_t{1} << 17;

void LogHostRows(const HostRowPolicy& policy) {
  const auto faster = [&](RowWork work, size_t rows) {
    const size_t tokens = rows * kMeasuredVocab;
    const HostRows sent = {.tokens = tokens, .bytes = tokens * sizeof(float)};
    return policy.ForCpu(work, sent) ? "cpu" : "cuda";
  };
  std::string log;
  for (const auto& [work, name] :
       {std::pair(RowWork::kTopK, "top-k"), std::pair(RowWork::kMinP, "min-p"),
        std::pair(RowWork::kTopP, "top-p"), std::pair(RowWork::kUnfiltered, "no filter")}) {
    absl::StrAppend(&log, log.empty() ? "" : "; ", name, ": ", faster(work, 1), ", ",
                    faster(work, 64));
  }
  spdlog::info(
      "rows from the host go to the device that is faster by a trial (for 1 row, for 64 rows of {} "
      "logits): {}",
      kMeasuredVocab, log);
}

absl::StatusOr<Backend> CpuBackend(int threads, std::string reason) {
  ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler, CreateCpuSampler({.threads = threads}));
  return Backend{std::move(sampler), std::move(reason), nullptr};
}

}  // namespace

absl::StatusOr<Backend> CreateBackend(const std::string& device, int threads,
                                      std::function<void(const absl::Status&)> on_lost) {
  if (device == "cpu") return CpuBackend(threads, "asked for");
  // No trial if CUDA was asked for: then it is used even if the CPU is faster.
  absl::StatusOr<std::unique_ptr<Sampler>> cuda =
      CreateCudaSampler({.cpu_threads = threads,
                         .measured_vocab = device == "auto" ? kMeasuredVocab : 0,
                         .on_host_rows = LogHostRows,
                         .on_lost = std::move(on_lost),
                         .on_fallback = LogFallback});
  if (cuda.ok()) {
    return Backend{*std::move(cuda), device == "cuda" ? "asked for" : "found", CudaRegion::Open,
                   PinForCuda()};
  }
  if (device == "cuda") {
    return absl::Status(cuda.status().code(),
                        absl::StrCat("--device=cuda: ", cuda.status().message()));
  }
  return CpuBackend(threads, std::string(cuda.status().message()));
}

}  // namespace token_sampler
