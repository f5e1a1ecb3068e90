// Emulates captures of streams, which record launches.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <memory>

#include "tests/simt/machine_state.h"

using simt::Call;
using simt::Failed;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return Failed(cudaErrorInvalidValue);
  stream->capture = std::make_unique<simt::Graph>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  if (stream->capture == nullptr) return Failed(cudaErrorInvalidValue);
  *graph = stream->capture.release();
  call.machine.graphs.insert(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  Call call;
  if (call.failed()) return call.error();
  if (!call.machine.graphs.contains(graph)) return Failed(cudaErrorInvalidValue);
  // Without an array the caller wants only the number.
  if (nodes == nullptr) {
    *count = graph->nodes.size();
    return cudaSuccess;
  }
  *count = std::min(*count, graph->nodes.size());
  for (size_t i = 0; i < *count; ++i) nodes[i] = graph->nodes[i].get();
  return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams* params) {
  Call call;
  if (call.failed()) return call.error();
  if (node == nullptr) return Failed(cudaErrorInvalidValue);
  *params = node->kernel;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Call call;
  if (call.machine.graphs.erase(graph) == 0) return Failed(cudaErrorInvalidValue);
  delete graph;
  return call.error();
}
