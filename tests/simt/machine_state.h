// The state that the calls of the emulated runtime share: the machine, under one lock, and its
// streams, whose work runs when somebody waits for it.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_MACHINE_STATE_H_
#define TOKEN_SAMPLER_TESTS_SIMT_MACHINE_STATE_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/simt/machine.h"

namespace simt {

struct GraphNode {
  cudaKernelNodeParams kernel;
};

struct Graph {
  std::vector<std::unique_ptr<GraphNode>> nodes = {};
};

struct Stream {
  int device = 0;
  std::deque<std::function<void()>> waiting = {};
  uint64_t added = 0;
  uint64_t finished = 0;
  std::unique_ptr<Graph> capture = nullptr;  // records launches instead of running them
};

struct Event {
  int device = 0;
  Stream* stream = nullptr;  // null: not recorded
  uint64_t position = 0;
  Event* shared = nullptr;  // the event of the process that shares it
};

inline constexpr size_t kSharedBytes = size_t{48} << 10;  // without an attribute
inline constexpr size_t kReservedBytes = 1024;            // of each block, by the system

struct Allocation {
  size_t bytes;
  cudaMemoryType type;
  int device;
  bool registered = false;  // allocated by others
};

struct FunctionAttributes {
  size_t shared_bytes = kSharedBytes;
  bool large_cluster = false;
};

// All state, under one lock, because several threads may make calls, and kernels run within these.
struct Machine {
  std::recursive_mutex mutex;
  std::vector<Device> devices = {Device()};
  bool has_driver = true;
  uint64_t schedule = 0;
  uint64_t calls_to_fault = 0;  // 0: none is pending
  cudaError_t fault = cudaSuccess;
  Fault fault_kind = Fault::kTransient;
  cudaError_t sticky = cudaSuccess;
  std::string report;
  uint64_t kernels = 0;
  uint64_t copies = 0;
  std::map<const char*, Allocation> allocations;
  std::set<Stream*> streams;
  std::set<Event*> events;
  std::set<Graph*> graphs;
  std::map<void*, int> ipc_mappings;                                    // how often each is open
  std::map<std::pair<const void*, int>, FunctionAttributes> functions;  // on each device

  static Machine& Get() {
    static Machine machine;
    return machine;
  }

  const Allocation* Find(const void* memory, size_t bytes) const {
    const auto* first = static_cast<const char*>(memory);
    auto next = allocations.upper_bound(first);
    if (next == allocations.begin()) return nullptr;
    const auto& [start, allocation] = *--next;
    const auto offset = static_cast<size_t>(first - start);
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
  }

  bool Overlaps(const void* memory, size_t bytes) const {
    const auto* first = static_cast<const char*>(memory);
    const auto next = allocations.lower_bound(first + bytes);
    if (next == allocations.begin()) return false;
    const auto& [start, allocation] = *std::prev(next);
    return first < start + allocation.bytes;
  }

  Device DeviceAt(int device) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    return devices[static_cast<size_t>(device)];
  }

  size_t BytesOn(int device) const {
    size_t bytes = 0;
    for (const auto& [start, allocation] : allocations) {
      const bool counts = allocation.type == cudaMemoryTypeDevice && allocation.device == device;
      bytes += counts ? allocation.bytes : 0;
    }
    return bytes;
  }
};

inline thread_local int current_device = 0;
inline thread_local cudaError_t last_error = cudaSuccess;

inline cudaError_t Failed(cudaError_t error) {
  last_error = error;
  return error;
}

// A call of the runtime. Takes the lock, and determines the error that the call has in any case.
class Call {
 public:
  Call() : lock_(machine.mutex) {
    if (machine.calls_to_fault > 0 && --machine.calls_to_fault == 0) {
      error_ = machine.fault;
      if (machine.fault_kind == Fault::kSticky) machine.sticky = machine.fault;
    }
    if (machine.sticky != cudaSuccess) error_ = machine.sticky;
    if (error_ == cudaSuccess && !machine.has_driver) error_ = cudaErrorInsufficientDriver;
    if (error_ == cudaSuccess && machine.devices.empty()) error_ = cudaErrorNoDevice;
    if (error_ != cudaSuccess) last_error = error_;
  }
  bool failed() const { return error_ != cudaSuccess; }
  cudaError_t error() const { return error_; }

  // Returns the result after work that may have run a kernel.
  cudaError_t Result() const {
    return machine.sticky == cudaSuccess ? cudaSuccess : Failed(machine.sticky);
  }

  Machine& machine = Machine::Get();

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  cudaError_t error_ = cudaSuccess;
};

inline void RunUntil(Stream& stream, uint64_t position) {
  while (stream.finished < position) {
    const std::function<void()> work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    if (Machine::Get().sticky == cudaSuccess) work();
    ++stream.finished;
  }
}

inline void Add(Stream& stream, std::function<void()> work) {
  stream.waiting.push_back(std::move(work));
  ++stream.added;
}

inline bool Knows(const Call& call, Stream* stream) {
  return call.machine.streams.contains(stream);
}
inline bool Knows(const Call& call, Event* event) { return call.machine.events.contains(event); }

inline const Device& CurrentDevice(const Call& call) {
  return call.machine.devices[static_cast<size_t>(current_device)];
}

inline int Image(const Device& device) {
  return device.image != 0 ? device.image : 10 * device.major + device.minor;
}

}  // namespace simt

#endif  // TOKEN_SAMPLER_TESTS_SIMT_MACHINE_STATE_H_
