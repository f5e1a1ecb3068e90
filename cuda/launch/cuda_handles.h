// Owners of what is allocated or created through the CUDA runtime, and its errors.

#ifndef TOKEN_SAMPLER_CUDA_LAUNCH_CUDA_HANDLES_H_
#define TOKEN_SAMPLER_CUDA_LAUNCH_CUDA_HANDLES_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/status_macros.h"

namespace token_sampler::cuda {

// OK, or Internal with the called function and the error's name and text.
inline absl::Status ToStatus(cudaError_t error, absl::string_view call) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("CUDA: ", call, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
}

// Makes a device the current one of this thread while the guard lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) : status_(ToStatus(cudaGetDevice(&before_), "cudaGetDevice")) {
    if (!status_.ok() || before_ == device) return;
    status_ = ToStatus(cudaSetDevice(device), "cudaSetDevice");
    changed_ = status_.ok();
  }
  ~DeviceGuard() {
    if (changed_) static_cast<void>(cudaSetDevice(before_));
  }

  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

  const absl::Status& status() const { return status_; }

 private:
  int before_ = 0;
  bool changed_ = false;
  absl::Status status_;
};

struct DeviceFree {
  void operator()(void* memory) const { static_cast<void>(cudaFree(memory)); }
};
struct PinnedFree {
  void operator()(void* memory) const { static_cast<void>(cudaFreeHost(memory)); }
};
struct StreamDestroy {
  void operator()(cudaStream_t stream) const { static_cast<void>(cudaStreamDestroy(stream)); }
};

template <typename T>
using DeviceArray = std::unique_ptr<T[], DeviceFree>;
template <typename T>
using PinnedArray = std::unique_ptr<T[], PinnedFree>;
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, StreamDestroy>;

template <typename T>
absl::Status Allocate(size_t count, DeviceArray<T>& array) {
  void* memory = nullptr;
  RETURN_IF_ERROR(ToStatus(cudaMalloc(&memory, count * sizeof(T)), "cudaMalloc"));
  array.reset(static_cast<T*>(memory));
  return absl::OkStatus();
}

template <typename T>
absl::Status Allocate(size_t count, PinnedArray<T>& array, unsigned flags = cudaHostAllocDefault) {
  void* memory = nullptr;
  RETURN_IF_ERROR(ToStatus(cudaHostAlloc(&memory, count * sizeof(T), flags), "cudaHostAlloc"));
  array.reset(static_cast<T*>(memory));
  return absl::OkStatus();
}

// Pinned memory to which the device writes directly.
template <typename T>
struct MappedArray {
  PinnedArray<T> host;
  T* device = nullptr;  // its address on the device

  absl::Status Allocate(size_t count) {
    RETURN_IF_ERROR(cuda::Allocate(count, host, cudaHostAllocMapped));
    void* address = nullptr;
    RETURN_IF_ERROR(
        ToStatus(cudaHostGetDevicePointer(&address, host.get(), 0), "cudaHostGetDevicePointer"));
    device = static_cast<T*>(address);
    return absl::OkStatus();
  }
};

// Pinned memory, and the same amount on the device to which it is copied.
template <typename T>
struct UploadArray {
  PinnedArray<T> host;
  DeviceArray<T> device;

  absl::Status Allocate(size_t count) {
    RETURN_IF_ERROR(cuda::Allocate(count, host));
    return cuda::Allocate(count, device);
  }
  absl::Status CopyToDevice(size_t first, size_t count, cudaStream_t stream) const {
    if (count == 0) return absl::OkStatus();
    return ToStatus(cudaMemcpyAsync(device.get() + first, host.get() + first, count * sizeof(T),
                                    cudaMemcpyHostToDevice, stream),
                    "cudaMemcpyAsync");
  }
};

inline absl::Status Create(Stream& stream) {
  cudaStream_t created = nullptr;
  RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking),
                           "cudaStreamCreateWithFlags"));
  stream.reset(created);
  return absl::OkStatus();
}

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LAUNCH_CUDA_HANDLES_H_
