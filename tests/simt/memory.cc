// Emulates memory of the host and of devices, and copies.

#include <cuda_runtime.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/simt/machine_state.h"

namespace simt {
namespace {

constexpr int kUninitialized = 0xcd;

cudaError_t Allocate(void** memory, size_t bytes, cudaMemoryType type) {
  Call call;
  if (call.failed()) return call.error();
  if (type == cudaMemoryTypeDevice) {
    const size_t used = call.machine.BytesOn(current_device);
    if (bytes > CurrentDevice(call).memory_bytes - used) return Failed(cudaErrorMemoryAllocation);
  }
  constexpr size_t kAlignment = 256;
  // Allocate exactly the requested bytes, so that a sanitizer finds accesses beyond.
  if (posix_memalign(memory, kAlignment, std::max<size_t>(bytes, 1)) != 0) {
    return Failed(cudaErrorMemoryAllocation);
  }
  std::memset(*memory, kUninitialized, bytes);
  call.machine.allocations[static_cast<char*>(*memory)] = {bytes, type, current_device};
  return cudaSuccess;
}

cudaError_t Free(void* memory, cudaMemoryType type) {
  Call call;
  if (call.failed()) return call.error();
  if (memory == nullptr) return cudaSuccess;
  const auto found = call.machine.allocations.find(static_cast<char*>(memory));
  if (found == call.machine.allocations.end() || found->second.type != type ||
      found->second.registered) {
    return Failed(cudaErrorInvalidValue);
  }
  // Wait for all work, like cudaFree.
  for (Stream* stream : call.machine.streams) RunUntil(*stream, stream->added);
  call.machine.allocations.erase(found);
  std::free(memory);
  return call.Result();
}

enum class Access { kNone, kRead, kWrite };

// Returns the access that the process has to all of the pages.
Access MappedAccess(const void* memory, size_t bytes) {
  auto first = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t last = first + bytes;
  Access access = Access::kWrite;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; first < last && std::getline(maps, line);) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    char readable = '-';
    char writable = '-';
    if (std::sscanf(line.c_str(), "%lx-%lx %c%c", &begin, &end, &readable, &writable) != 4) break;
    if (end <= first) continue;
    if (begin > first || readable != 'r') return Access::kNone;
    if (writable != 'w') access = Access::kRead;
    first = end;
  }
  return first < last ? Access::kNone : access;
}

// Copies the locked pages like a device. If a page is gone from the mapping, the locked page no
// longer has what its owner sees there, so copies other bytes.
void CopyFromLocked(char* to, const char* from, size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  while (bytes > 0) {
    const size_t part = std::min(bytes, page - reinterpret_cast<uintptr_t>(from) % page);
    const iovec local = {.iov_base = to, .iov_len = part};
    const iovec remote = {.iov_base = const_cast<char*>(from), .iov_len = part};
    const bool is_there =
        process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(part);
    if (!is_there) std::memset(to, kUninitialized, part);
    to += part;
    from += part;
    bytes -= part;
  }
}

// Makes a copy, from pinned memory or not.
void CopyNow(char* to, const char* from, size_t bytes, bool from_registered) {
  if (!from_registered) {
    std::memcpy(to, from, bytes);
  } else if (Machine::Get().Find(from, bytes) == nullptr) {
    Machine::Get().sticky = cudaErrorIllegalAddress;
  } else {
    CopyFromLocked(to, from, bytes);
  }
}

}  // namespace
}  // namespace simt

using simt::Call;
using simt::Failed;

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return simt::Allocate(memory, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return simt::Allocate(memory, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaFree(void* memory) { return simt::Free(memory, cudaMemoryTypeDevice); }
cudaError_t cudaFreeHost(void* memory) { return simt::Free(memory, cudaMemoryTypeHost); }

cudaError_t cudaHostRegister(void* memory, size_t bytes, unsigned flags) {
  Call call;
  if (call.failed()) return call.error();
  constexpr unsigned kKnown = cudaHostRegisterPortable | cudaHostRegisterReadOnly;
  const bool read_only = (flags & cudaHostRegisterReadOnly) != 0;
  const simt::Access access = simt::MappedAccess(memory, bytes);
  if (memory == nullptr || bytes == 0 || (flags & ~kKnown) != 0 || access == simt::Access::kNone) {
    return Failed(cudaErrorInvalidValue);
  }
  if (!CurrentDevice(call).shares_memory ||
      (read_only && !CurrentDevice(call).registers_read_only)) {
    return Failed(cudaErrorNotSupported);
  }
  if (!read_only && access != simt::Access::kWrite) return Failed(cudaErrorInvalidValue);
  auto* const first = static_cast<char*>(memory);
  if (call.machine.Overlaps(first, bytes)) return Failed(cudaErrorHostMemoryAlreadyRegistered);
  call.machine.allocations[first] = {bytes, cudaMemoryTypeHost, simt::current_device, true};
  return cudaSuccess;
}

// Does not wait: copies from there that are still under way fail.
cudaError_t cudaHostUnregister(void* memory) {
  Call call;
  const auto found = call.machine.allocations.find(static_cast<char*>(memory));
  if (found == call.machine.allocations.end() || !found->second.registered) {
    return Failed(cudaErrorHostMemoryNotRegistered);
  }
  call.machine.allocations.erase(found);
  return call.error();
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  const Call call;
  if (call.failed()) return call.error();
  const simt::Allocation* found = call.machine.Find(host, 0);
  if (found == nullptr || found->type != cudaMemoryTypeHost) return Failed(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  Call call;
  if (call.failed()) return call.error();
  const simt::Allocation* found = call.machine.Find(memory, 0);
  auto* const pointer = const_cast<void*>(memory);
  if (found == nullptr) {
    *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, pointer};
  } else if (found->type == cudaMemoryTypeHost) {
    *attributes = {cudaMemoryTypeHost, found->device, pointer, pointer};
  } else {
    *attributes = {cudaMemoryTypeDevice, found->device, pointer, nullptr};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  ++call.machine.copies;
  const simt::Allocation* source = call.machine.Find(from, bytes);
  const simt::Allocation* target = call.machine.Find(to, bytes);
  // A copy must be within a single allocation or registration.
  if ((source == nullptr && call.machine.Overlaps(from, bytes)) ||
      (target == nullptr && call.machine.Overlaps(to, bytes))) {
    return Failed(cudaErrorInvalidValue);
  }
  const auto is_device = [](const simt::Allocation* memory) {
    return memory != nullptr && memory->type == cudaMemoryTypeDevice;
  };
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault &&
      (from_device != is_device(source) || to_device != is_device(target))) {
    return Failed(cudaErrorInvalidValue);
  }
  const bool by_cpu = source == nullptr || (source->registered && !from_device &&
                                            bytes <= CurrentDevice(call).cpu_copy_bytes);
  if (by_cpu) {
    // Pageable memory, and little registered memory, is read before the call returns.
    const auto* first = static_cast<const char*>(from);
    simt::Add(*stream, [to, copy = std::vector<char>(first, first + bytes)] {
      std::memcpy(to, copy.data(), copy.size());
    });
    return cudaSuccess;
  }
  simt::Add(*stream, [to, from, bytes, registered = source->registered] {
    simt::CopyNow(static_cast<char*>(to), static_cast<const char*>(from), bytes, registered);
  });
  if (target == nullptr) simt::RunUntil(*stream, stream->added);
  return call.Result();
}

// Supports only copies from pinned memory to a device.
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  ++call.machine.copies;
  constexpr size_t kMaxPitch = (size_t{1} << 31) - 1;
  if (to_pitch < width || from_pitch < width || std::max(to_pitch, from_pitch) > kMaxPitch) {
    return Failed(cudaErrorInvalidPitchValue);
  }
  if (width == 0 || height == 0) return cudaSuccess;
  const simt::Allocation* source = call.machine.Find(from, (height - 1) * from_pitch + width);
  const simt::Allocation* target = call.machine.Find(to, (height - 1) * to_pitch + width);
  if (kind != cudaMemcpyHostToDevice || source == nullptr || source->type != cudaMemoryTypeHost ||
      target == nullptr || target->type != cudaMemoryTypeDevice) {
    return Failed(cudaErrorInvalidValue);
  }
  if (source->registered && width * height <= CurrentDevice(call).cpu_copy_bytes) {
    std::vector<char> rows(width * height);
    for (size_t row = 0; row < height; ++row) {
      std::memcpy(&rows[row * width], static_cast<const char*>(from) + row * from_pitch, width);
    }
    simt::Add(*stream, [=, rows = std::move(rows)] {
      for (size_t row = 0; row < height; ++row) {
        std::memcpy(static_cast<char*>(to) + row * to_pitch, &rows[row * width], width);
      }
    });
    return cudaSuccess;
  }
  simt::Add(*stream, [=, registered = source->registered] {
    for (size_t row = 0; row < height; ++row) {
      simt::CopyNow(static_cast<char*>(to) + row * to_pitch,
                    static_cast<const char*>(from) + row * from_pitch, width, registered);
    }
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Call call;
  if (call.failed()) return call.error();
  if (kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyHostToDevice) {
    return Failed(cudaErrorInvalidValue);
  }
  const simt::Allocation* on_device =
      call.machine.Find(kind == cudaMemcpyDeviceToHost ? from : to, bytes);
  if (on_device == nullptr || on_device->type != cudaMemoryTypeDevice) {
    return Failed(cudaErrorInvalidValue);
  }
  std::memcpy(to, from, bytes);
  return call.Result();
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  if (call.machine.Find(memory, bytes) == nullptr) return Failed(cudaErrorInvalidValue);
  simt::Add(*stream, [memory, value, bytes] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
