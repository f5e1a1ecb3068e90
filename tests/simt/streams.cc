// Emulates streams and events.

#include <cuda_runtime.h>

#include <cstdint>

#include "tests/simt/machine_state.h"

namespace simt {
namespace {

// Returns the recorded event, in whichever process.
const Event& Recorded(const Event& event) {
  return event.shared != nullptr ? *event.shared : event;
}

}  // namespace
}  // namespace simt

using simt::Call;
using simt::Failed;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  Call call;
  if (call.failed()) return call.error();
  *stream = new simt::Stream{.device = simt::current_device};
  call.machine.streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Call call;
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  simt::RunUntil(*stream, stream->added);
  for (simt::Event* event : call.machine.events) {
    if (event->stream == stream) event->stream = nullptr;
  }
  call.machine.streams.erase(stream);
  delete stream;
  return call.error();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  simt::RunUntil(*stream, stream->added);
  return call.Result();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream)) return Failed(cudaErrorInvalidResourceHandle);
  if (stream->waiting.empty()) return call.Result();
  simt::RunUntil(*stream, stream->finished + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream) || !Knows(call, event)) return Failed(cudaErrorInvalidResourceHandle);
  simt::Stream* const other = simt::Recorded(*event).stream;
  if (other == nullptr || other == stream) return cudaSuccess;
  simt::Add(*stream, [other, position = simt::Recorded(*event).position] {
    if (simt::Machine::Get().streams.contains(other)) simt::RunUntil(*other, position);
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  Call call;
  if (call.failed()) return call.error();
  *event = new simt::Event{.device = simt::current_device};
  call.machine.events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Call call;
  if (!Knows(call, event)) return Failed(cudaErrorInvalidResourceHandle);
  call.machine.events.erase(event);
  delete event;
  return call.error();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, stream) || !Knows(call, event) || stream->device != event->device) {
    return Failed(cudaErrorInvalidResourceHandle);
  }
  event->stream = stream;
  event->position = stream->added;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, event)) return Failed(cudaErrorInvalidResourceHandle);
  const simt::Event& recorded = simt::Recorded(*event);
  if (recorded.stream != nullptr) simt::RunUntil(*recorded.stream, recorded.position);
  return call.Result();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Call call;
  if (call.failed()) return call.error();
  if (!Knows(call, event)) return Failed(cudaErrorInvalidResourceHandle);
  simt::Stream* const stream = event->stream;
  if (stream == nullptr || stream->finished >= event->position) return call.Result();
  simt::RunUntil(*stream, stream->finished + 1);
  return cudaErrorNotReady;
}
