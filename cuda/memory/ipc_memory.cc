#include "cuda/memory/ipc_memory.h"

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cuda/launch/cuda_handles.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

using cuda::DeviceGuard;
using cuda::ToStatus;

struct IpcClose {
  void operator()(void* memory) const { static_cast<void>(cudaIpcCloseMemHandle(memory)); }
};
struct EventDestroy {
  void operator()(cudaEvent_t event) const { static_cast<void>(cudaEventDestroy(event)); }
};
using Mapping = std::unique_ptr<void, IpcClose>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, EventDestroy>;

class OpenedMemory final : public IpcMemory {
 public:
  OpenedMemory(int device, Mapping mapping, uint64_t offset, Event event)
      : mapping_(std::move(mapping)),
        event_(std::move(event)),
        place_{device, static_cast<const char*>(mapping_.get()) + offset, event_.get()} {}

  const DeviceMemory& place() const override { return place_; }

  absl::Status Read(uint64_t offset, size_t size, char* to) const override {
    const DeviceGuard guard(place_.device);
    RETURN_IF_ERROR(guard.status());
    if (event_ != nullptr) {
      RETURN_IF_ERROR(ToStatus(cudaEventSynchronize(event_.get()), "cudaEventSynchronize"));
    }
    return ToStatus(cudaMemcpy(to, place_.address + offset, size, cudaMemcpyDeviceToHost),
                    "cudaMemcpy");
  }

 private:
  const Mapping mapping_;
  const Event event_;
  const DeviceMemory place_;
};

// The error for a refused handle. Clears CUDA's error, so that no later call reports it.
absl::Status Refused(absl::string_view field, cudaError_t error) {
  static_cast<void>(cudaGetLastError());
  return absl::InvalidArgumentError(absl::StrCat(
      field, " cannot be opened: ", cudaGetErrorName(error), ", ", cudaGetErrorString(error),
      "; it must come from another process of this machine"));
}

// Sets `bytes` to the bytes from `memory` to the end of its allocation, which the driver reports
// but the runtime does not.
absl::Status AllocatedBytes(const void* memory, uint64_t& bytes) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  constexpr unsigned kVersion = 3020;
  RETURN_IF_ERROR(ToStatus(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &entry,
                                                            kVersion, cudaEnableDefault, &found),
                           "cudaGetDriverEntryPointByVersion"));
  if (found != cudaDriverEntryPointSuccess || entry == nullptr) {
    return absl::InternalError("CUDA: the driver has no cuMemGetAddressRange");
  }
  const auto get_address_range = reinterpret_cast<PFN_cuMemGetAddressRange_v3020>(entry);
  const auto address = reinterpret_cast<CUdeviceptr>(memory);
  CUdeviceptr begin = 0;
  size_t size = 0;
  if (const CUresult result = get_address_range(&begin, &size, address); result != CUDA_SUCCESS) {
    return absl::InternalError(
        absl::StrCat("CUDA: cuMemGetAddressRange: ", static_cast<int>(result)));
  }
  bytes = begin + size - address;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<IpcMemory>> IpcMemory::Open(uint32_t device,
                                                           absl::string_view handle,
                                                           absl::string_view event,
                                                           const IpcRange& range) {
  int count = 0;
  RETURN_IF_ERROR(ToStatus(cudaGetDeviceCount(&count), "cudaGetDeviceCount"));
  if (device >= static_cast<uint32_t>(count)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "device must be below ", count, ", the number of the server's devices, got ", device));
  }
  RETURN_IF_ERROR(ToStatus(cudaSetDevice(static_cast<int>(device)), "cudaSetDevice"));

  cudaIpcMemHandle_t memory_handle;
  if (handle.size() != sizeof(memory_handle)) {
    return absl::InvalidArgumentError(absl::StrCat("cuda_handle must have ", sizeof(memory_handle),
                                                   " bytes, got ", handle.size()));
  }
  std::memcpy(&memory_handle, handle.data(), sizeof(memory_handle));
  void* opened = nullptr;
  if (const cudaError_t error =
          cudaIpcOpenMemHandle(&opened, memory_handle, cudaIpcMemLazyEnablePeerAccess);
      error != cudaSuccess) {
    return Refused("cuda_handle", error);
  }
  Mapping mapping(opened);
  uint64_t allocated = 0;
  RETURN_IF_ERROR(AllocatedBytes(opened, allocated));
  if (range.byte_size > allocated || range.offset > allocated - range.byte_size) {
    return absl::OutOfRangeError(absl::StrCat("offset ", range.offset, " and byte_size ",
                                              range.byte_size, " must lie inside the ", allocated,
                                              " bytes of the allocation"));
  }

  Event opened_event;
  if (!event.empty()) {
    cudaIpcEventHandle_t event_handle;
    if (event.size() != sizeof(event_handle)) {
      return absl::InvalidArgumentError(absl::StrCat("cuda_event must have ", sizeof(event_handle),
                                                     " bytes, got ", event.size()));
    }
    std::memcpy(&event_handle, event.data(), sizeof(event_handle));
    cudaEvent_t made = nullptr;
    const cudaError_t error = cudaIpcOpenEventHandle(&made, event_handle);
    if (error != cudaSuccess) return Refused("cuda_event", error);
    opened_event.reset(made);
  }
  return std::make_unique<OpenedMemory>(static_cast<int>(device), std::move(mapping), range.offset,
                                        std::move(opened_event));
}

}  // namespace token_sampler
