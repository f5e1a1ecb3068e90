// Emulates devices and errors.

#include <cuda_runtime.h>

#include <cstddef>
#include <mutex>

#include "tests/simt/machine_state.h"

using simt::Call;
using simt::Failed;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  Call call;
  if (call.failed()) return call.error();
  *count = static_cast<int>(call.machine.devices.size());
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  Call call;
  *device = simt::current_device;
  return call.error();
}

cudaError_t cudaSetDevice(int device) {
  Call call;
  if (call.failed()) return call.error();
  if (device < 0 || static_cast<size_t>(device) >= call.machine.devices.size()) {
    return Failed(cudaErrorInvalidDevice);
  }
  simt::current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Call call;
  if (call.failed()) return call.error();
  if (device < 0 || static_cast<size_t>(device) >= call.machine.devices.size()) {
    return Failed(cudaErrorInvalidDevice);
  }
  const simt::Device& from = call.machine.devices[static_cast<size_t>(device)];
  *properties = {};
  from.name.copy(properties->name, sizeof(properties->name) - 1);
  properties->totalGlobalMem = from.memory_bytes;
  properties->major = from.major;
  properties->minor = from.minor;
  properties->multiProcessorCount = from.multiprocessors;
  properties->sharedMemPerBlock = simt::kSharedBytes;
  properties->sharedMemPerBlockOptin = from.shared_bytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  const simt::Device from = simt::Machine::Get().DeviceAt(device);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin + simt::kReservedBytes);
      return cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(simt::kReservedBytes);
      return cudaSuccess;
    case cudaDevAttrPageableMemoryAccessUsesHostPageTables:
      *value = from.uses_host_page_tables ? 1 : 0;
      return cudaSuccess;
    case cudaDevAttrHostRegisterReadOnlySupported:
      *value = from.registers_read_only ? 1 : 0;
      return cudaSuccess;
    case cudaDevAttrClusterLaunch:
      *value = properties.major >= 9 ? 1 : 0;
      return cudaSuccess;
  }
  return Failed(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

cudaError_t cudaRuntimeGetVersion(int* version) {
  constexpr int kVersion = 13'000;
  *version = kVersion;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Call call;
  if (call.failed()) return call.error();
  for (simt::Stream* stream : call.machine.streams) simt::RunUntil(*stream, stream->added);
  return call.Result();
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  simt::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard<std::recursive_mutex> lock(simt::Machine::Get().mutex);
  const cudaError_t sticky = simt::Machine::Get().sticky;
  return sticky != cudaSuccess ? sticky : simt::last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidPitchValue:
      return "cudaErrorInvalidPitchValue";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchOutOfResources:
      return "cudaErrorLaunchOutOfResources";
    case cudaErrorHostMemoryAlreadyRegistered:
      return "cudaErrorHostMemoryAlreadyRegistered";
    case cudaErrorHostMemoryNotRegistered:
      return "cudaErrorHostMemoryNotRegistered";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorInvalidClusterSize:
      return "cudaErrorInvalidClusterSize";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
