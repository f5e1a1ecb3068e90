// Emulates launches of kernels, and queries about them.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tests/simt/engine.h"
#include "tests/simt/machine_state.h"

namespace simt {
namespace {

constexpr unsigned kPortableCluster = 8;
constexpr unsigned kLargestCluster = 16;
constexpr unsigned kMostThreads = 1024;

// Sets the shape of a launch, or returns its error.
cudaError_t CheckLaunch(const Call& call, const cudaLaunchConfig_t& config, const void* kernel,
                        LaunchShape& shape) {
  shape.grid = {config.gridDim.x, config.gridDim.y, config.gridDim.z};
  shape.block = {config.blockDim.x, config.blockDim.y, config.blockDim.z};
  shape.shared_bytes = config.dynamicSmemBytes;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension) {
      shape.cluster = config.attrs[i].val.clusterDim.x;
    }
  }
  const unsigned threads = shape.block.Count();
  if (threads == 0 || threads > kMostThreads || shape.grid.Count() == 0 || shape.cluster == 0 ||
      shape.grid.x % shape.cluster != 0) {
    return cudaErrorInvalidConfiguration;
  }
  const auto found = call.machine.functions.find({kernel, current_device});
  const FunctionAttributes attributes =
      found == call.machine.functions.end() ? FunctionAttributes() : found->second;
  if (shape.shared_bytes > attributes.shared_bytes) return cudaErrorInvalidValue;
  if (shape.cluster == 1) return cudaSuccess;
  const unsigned most = attributes.large_cluster ? kLargestCluster : kPortableCluster;
  const Device& device = CurrentDevice(call);
  // Code that was compiled before clusters existed would treat each block as a cluster.
  if (device.major < 9 || Image(device) < 90 || shape.cluster > most ||
      shape.cluster > static_cast<unsigned>(device.largest_cluster)) {
    return cudaErrorInvalidClusterSize;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t SetFunctionAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  Call call;
  if (call.failed()) return call.error();
  FunctionAttributes& attributes = call.machine.functions[{kernel, current_device}];
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
    attributes.large_cluster = value != 0;
    return cudaSuccess;
  }
  if (value < 0 || static_cast<size_t>(value) > CurrentDevice(call).shared_bytes) {
    return Failed(cudaErrorInvalidValue);
  }
  attributes.shared_bytes = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t GetFunctionAttributes(cudaFuncAttributes* attributes, const void*) {
  const Call call;
  if (call.failed()) return call.error();
  const Device& device = CurrentDevice(call);
  // PTX for an older device was compiled for this one.
  *attributes = {Image(device), 10 * device.major + device.minor};
  return cudaSuccess;
}

cudaError_t MaxActiveClusters(int* clusters, const void* kernel, const cudaLaunchConfig_t& config) {
  Call call;
  if (call.failed()) return call.error();
  LaunchShape shape;
  if (const cudaError_t error = CheckLaunch(call, config, kernel, shape); error != cudaSuccess) {
    return Failed(error);
  }
  *clusters = CurrentDevice(call).multiprocessors / static_cast<int>(shape.cluster);
  return cudaSuccess;
}

cudaError_t Launch(const cudaLaunchConfig_t& config, const void* kernel,
                   std::function<void()> thread) {
  Call call;
  if (call.failed()) return call.error();
  // A stream accepts copies whatever the thread's current device is, but kernels only if it is the
  // stream's device.
  if (!Knows(call, config.stream) || config.stream->device != current_device) {
    return Failed(cudaErrorInvalidResourceHandle);
  }
  LaunchShape shape;
  if (const cudaError_t error = CheckLaunch(call, config, kernel, shape); error != cudaSuccess) {
    return Failed(error);
  }
  if (config.stream->capture != nullptr) {
    const cudaKernelNodeParams node = {const_cast<void*>(kernel), config.gridDim, config.blockDim,
                                       static_cast<unsigned>(config.dynamicSmemBytes)};
    config.stream->capture->nodes.push_back(std::make_unique<GraphNode>(GraphNode{node}));
    return cudaSuccess;
  }
  Add(*config.stream, [shape, thread = std::move(thread)] {
    Machine& machine = Machine::Get();
    ++machine.kernels;
    std::string report = RunKernel(shape, machine.schedule, thread);
    if (report.empty()) return;
    machine.report = std::move(report);
    machine.sticky = cudaErrorLaunchFailure;
  });
  return cudaSuccess;
}

}  // namespace simt

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          size_t shared_bytes) {
  const simt::Call call;
  if (call.failed()) return call.error();
  if (threads <= 0) return simt::Failed(cudaErrorInvalidValue);
  constexpr int kThreadsPerMultiprocessor = 2048;
  const size_t all_bytes = CurrentDevice(call).shared_bytes + simt::kReservedBytes;
  const auto by_bytes = static_cast<int>(all_bytes / (shared_bytes + simt::kReservedBytes));
  *blocks = std::min(kThreadsPerMultiprocessor / threads, by_bytes);
  return cudaSuccess;
}
