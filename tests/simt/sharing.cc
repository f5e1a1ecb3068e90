// Emulates memory and events of other processes, all of which are this process.

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "tests/simt/machine_state.h"

namespace simt {
namespace {

// A handle has this word, which distinguishes it from any other 64 bytes, and then an address.
constexpr uint64_t kHandleMark = 0x1bc0ffee1bc0ffee;

template <typename Handle>
void WriteHandle(Handle* handle, const void* object) {
  *handle = {};
  std::memcpy(handle->reserved, &kHandleMark, sizeof(kHandleMark));
  std::memcpy(handle->reserved + sizeof(kHandleMark), &object, sizeof(object));
}

template <typename Handle>
void* ReadHandle(const Handle& handle) {
  uint64_t mark = 0;
  void* object = nullptr;
  std::memcpy(&mark, handle.reserved, sizeof(mark));
  std::memcpy(&object, handle.reserved + sizeof(mark), sizeof(object));
  return mark == kHandleMark ? object : nullptr;
}

CUresult AddressRange(CUdeviceptr* begin, size_t* size, CUdeviceptr address) {
  const Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  auto next = machine.allocations.upper_bound(reinterpret_cast<const char*>(address));
  if (next == machine.allocations.begin()) return CUDA_ERROR_INVALID_VALUE;
  --next;
  *begin = reinterpret_cast<CUdeviceptr>(next->first);
  *size = next->second.bytes;
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace simt

using simt::Call;
using simt::Failed;

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  const Call call;
  if (call.failed()) return call.error();
  if (!CurrentDevice(call).shares_memory) return Failed(cudaErrorNotSupported);
  if (call.machine.Find(memory, 1) == nullptr) return Failed(cudaErrorInvalidValue);
  simt::WriteHandle(handle, memory);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t handle, unsigned) {
  Call call;
  if (call.failed()) return call.error();
  void* const shared = simt::ReadHandle(handle);
  const simt::Allocation* found = shared == nullptr ? nullptr : call.machine.Find(shared, 1);
  if (found == nullptr || found->device != simt::current_device) {
    return Failed(cudaErrorInvalidResourceHandle);
  }
  ++call.machine.ipc_mappings[shared];
  *memory = shared;
  return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void* memory) {
  Call call;
  const auto found = call.machine.ipc_mappings.find(memory);
  if (found == call.machine.ipc_mappings.end()) return Failed(cudaErrorInvalidValue);
  if (--found->second == 0) call.machine.ipc_mappings.erase(found);
  return call.error();
}

cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t* handle, cudaEvent_t event) {
  const Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, event)) return Failed(cudaErrorInvalidResourceHandle);
  simt::WriteHandle(handle, event);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenEventHandle(cudaEvent_t* event, cudaIpcEventHandle_t handle) {
  const cudaError_t error = cudaEventCreateWithFlags(event, cudaEventDisableTiming);
  if (error != cudaSuccess) return error;
  const Call call;
  auto* const shared = static_cast<cudaEvent_t>(simt::ReadHandle(handle));
  if (shared != nullptr && Knows(call, shared)) {
    (*event)->shared = shared;
    return cudaSuccess;
  }
  static_cast<void>(cudaEventDestroy(*event));
  return Failed(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const Call call;
  if (call.failed()) return call.error();
  const bool known = std::string(symbol) == "cuMemGetAddressRange";
  *function = known ? reinterpret_cast<void*>(&simt::AddressRange) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
