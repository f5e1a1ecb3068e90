#include "tests/gpu/launch_shapes.h"

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cuda/kernel/sample_rows.h"
#include "cuda/launch/cuda_handles.h"
#include "tests/conformance/direct_launch.h"

namespace token_sampler::testing {
namespace {

using cuda::LaunchShape;
using cuda::ToStatus;

constexpr uint32_t kVocabs[] = {32'000, 128'256, 151'936, 262'144, 524'288};
constexpr uint32_t kRows[] = {1, 8, 64, 128, 512};

std::string Describe(uint32_t rows, uint32_t vocab, const LaunchShape& shape) {
  return absl::StrCat(rows, " x ", vocab, ": ", shape.cluster_blocks, " blocks per row, ",
                      shape.shared_bytes, " bytes of dynamic shared memory each, values in ",
                      shape.values_in_shared ? "it" : "device memory");
}

struct GraphDestroy {
  void operator()(cudaGraph_t graph) const { static_cast<void>(cudaGraphDestroy(graph)); }
};
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, GraphDestroy>;

// The kernel of a launch, which a capture tells and does not run.
absl::StatusOr<cudaKernelNodeParams> KernelOf(const LaunchShape& shape, uint32_t rows) {
  cuda::Stream stream;
  absl::Status status = cuda::Create(stream);
  if (status.ok()) {
    status = ToStatus(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed),
                      "cudaStreamBeginCapture");
  }
  if (!status.ok()) return status;
  const absl::Status launched =
      ToStatus(cuda::LaunchSampleRows(nullptr, rows, shape, nullptr, nullptr, stream.get()),
               "launch of SampleRows");
  cudaGraph_t captured = nullptr;
  status = ToStatus(cudaStreamEndCapture(stream.get(), &captured), "cudaStreamEndCapture");
  const Graph graph(captured);
  if (!launched.ok()) return launched;
  cudaGraphNode_t node = nullptr;
  size_t count = 1;
  if (status.ok()) {
    status = ToStatus(cudaGraphGetNodes(graph.get(), &node, &count), "cudaGraphGetNodes");
  }
  cudaKernelNodeParams kernel = {};
  if (status.ok()) {
    status = ToStatus(cudaGraphKernelNodeGetParams(node, &kernel), "cudaGraphKernelNodeGetParams");
  }
  if (!status.ok()) return status;
  return kernel;
}

absl::StatusOr<std::string> Occupancy(const LaunchShape& shape, uint32_t rows) {
  const absl::StatusOr<cudaKernelNodeParams> kernel = KernelOf(shape, rows);
  if (!kernel.ok()) return kernel.status();
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {shape.cluster_blocks, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = kernel->gridDim;
  config.blockDim = kernel->blockDim;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.attrs = &cluster;
  config.numAttrs = shape.cluster_blocks > 1 ? 1 : 0;
  const void* const function = kernel->func;
  int blocks = 0;
  absl::Status status =
      ToStatus(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                   &blocks, function, static_cast<int>(kernel->blockDim.x), shape.shared_bytes),
               "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  if (!status.ok()) return status;
  std::string text = absl::StrCat(blocks, " blocks per multiprocessor");
  if (shape.cluster_blocks == 1) return text;
  int clusters = 0;
  status = ToStatus(cudaOccupancyMaxActiveClusters(&clusters, function, &config),
                    "cudaOccupancyMaxActiveClusters");
  if (!status.ok()) return status;
  absl::StrAppend(&text, ", ", clusters, " clusters at once");
  return text;
}

absl::Status PrintDevice(const cuda::DeviceTraits& traits) {
  cudaDeviceProp device = {};
  int driver = 0;
  int runtime = 0;
  for (const cudaError_t error : {cudaGetDeviceProperties(&device, 0),
                                  cudaDriverGetVersion(&driver), cudaRuntimeGetVersion(&runtime)}) {
    if (absl::Status status = ToStatus(error, "asking what the device is"); !status.ok()) {
      return status;
    }
  }
  std::printf(
      "%s, compute capability %d.%d, driver for CUDA %d.%d, runtime %d.%d\n"
      "%u multiprocessors, clusters of at most %u blocks, %zu bytes of shared memory for a block, "
      "%zu for each of two\n",
      device.name, device.major, device.minor, driver / 1000, driver % 1000 / 10, runtime / 1000,
      runtime % 1000 / 10, traits.num_sms, traits.max_cluster_blocks, traits.max_shared_bytes,
      traits.paired_shared_bytes);
  return absl::OkStatus();
}

}  // namespace

void PrintShapes() {
  for (const uint32_t vocab : kVocabs) {
    for (const uint32_t rows : kRows) {
      const LaunchShape shape = ChooseShape(kHopper, rows, vocab);
      std::printf("%s\n", Describe(rows, vocab, shape).c_str());
    }
  }
}

absl::Status PrintCard() {
  const absl::StatusOr<cuda::DeviceTraits> traits = PrepareDevice();
  if (!traits.ok()) return traits.status();
  if (absl::Status status = PrintDevice(*traits); !status.ok()) return status;
  for (const uint32_t vocab : kVocabs) {
    for (const uint32_t rows : kRows) {
      const LaunchShape shape = ChooseShape(*traits, rows, vocab);
      const absl::StatusOr<std::string> occupancy = Occupancy(shape, rows);
      if (!occupancy.ok()) return occupancy.status();
      std::printf("%s; %s\n", Describe(rows, vocab, shape).c_str(), occupancy->c_str());
    }
  }
  return absl::OkStatus();
}

}  // namespace token_sampler::testing
