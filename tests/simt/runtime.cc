#include <cudaTypedefs.h>
#include <cuda_runtime.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/simt/engine.h"
#include "tests/simt/machine.h"

namespace simt {

struct Stream {
  int device = 0;
  std::deque<std::function<void()>> waiting = {};
  uint64_t added = 0;
  uint64_t finished = 0;
};

struct Event {
  int device = 0;
  Stream* stream = nullptr;  // null: not recorded
  uint64_t position = 0;
  Event* shared = nullptr;  // the one of the process that shares it
};

namespace {

constexpr size_t kSharedBytes = size_t{48} << 10;  // without an attribute
constexpr size_t kReservedBytes = 1024;            // of each block, by the system
constexpr unsigned kPortableCluster = 8;
constexpr unsigned kLargestCluster = 16;
constexpr unsigned kMostThreads = 1024;
constexpr int kUninitialized = 0xcd;

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

// All state, under one lock: calls may come from several threads, and kernels run within them.
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

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t Failed(cudaError_t error) {
  last_error = error;
  return error;
}

// A call of the runtime: takes the lock, and the error that the call has whatever it asks for.
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

  // After work that may have run a kernel.
  cudaError_t Result() const {
    return machine.sticky == cudaSuccess ? cudaSuccess : Failed(machine.sticky);
  }

  Machine& machine = Machine::Get();

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  cudaError_t error_ = cudaSuccess;
};

void RunUntil(Stream& stream, uint64_t position) {
  while (stream.finished < position) {
    const std::function<void()> work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    if (Machine::Get().sticky == cudaSuccess) work();
    ++stream.finished;
  }
}

void Add(Stream& stream, std::function<void()> work) {
  stream.waiting.push_back(std::move(work));
  ++stream.added;
}

bool Knows(const Call& call, Stream* stream) { return call.machine.streams.contains(stream); }
bool Knows(const Call& call, Event* event) { return call.machine.events.contains(event); }

// What was recorded, in whichever process.
const Event& Recorded(const Event& event) {
  return event.shared != nullptr ? *event.shared : event;
}

// A handle holds an address behind a word that tells it from any other 64 bytes.
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

const Device& CurrentDevice(const Call& call) {
  return call.machine.devices[static_cast<size_t>(current_device)];
}

int Image(const Device& device) {
  return device.image != 0 ? device.image : 10 * device.major + device.minor;
}

cudaError_t Allocate(void** memory, size_t bytes, cudaMemoryType type) {
  Call call;
  if (call.failed()) return call.error();
  if (type == cudaMemoryTypeDevice) {
    const size_t used = call.machine.BytesOn(current_device);
    if (bytes > CurrentDevice(call).memory_bytes - used) return Failed(cudaErrorMemoryAllocation);
  }
  constexpr size_t kAlignment = 256;
  // Not a byte more than asked for, so that a sanitizer sees what is beyond.
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
  // As cudaFree does, wait for all work.
  for (Stream* stream : call.machine.streams) RunUntil(*stream, stream->added);
  call.machine.allocations.erase(found);
  std::free(memory);
  return call.Result();
}

enum class Access { kNone, kRead, kWrite };

// What the process may do with all of the pages.
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

// A device reads the pages that were locked; what has gone from behind the mapping of the process
// is not what its owner has there now.
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

// Work that copies from pinned memory.
void CopyNow(char* to, const char* from, size_t bytes, bool from_registered) {
  if (!from_registered) {
    std::memcpy(to, from, bytes);
  } else if (Machine::Get().Find(from, bytes) == nullptr) {
    Machine::Get().sticky = cudaErrorIllegalAddress;
  } else {
    CopyFromLocked(to, from, bytes);
  }
}

// The shape of a launch, or what is wrong with it.
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
  // Code that was compiled before there were clusters would take each block for a cluster.
  if (device.major < 9 || Image(device) < 90 || shape.cluster > most ||
      shape.cluster > static_cast<unsigned>(device.largest_cluster)) {
    return cudaErrorInvalidClusterSize;
  }
  return cudaSuccess;
}

}  // namespace

// ---- The machine ----

void ResetMachine() {
  Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(machine.mutex);
  machine.devices = {Device()};
  machine.has_driver = true;
  machine.schedule = 0;
  machine.calls_to_fault = 0;
  machine.sticky = cudaSuccess;
  machine.report.clear();
  machine.kernels = 0;
  machine.copies = 0;
  machine.functions.clear();
  current_device = 0;
  last_error = cudaSuccess;
}

void SetDevices(std::vector<Device> devices) {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().devices = std::move(devices);
}

void RemoveDriver() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().has_driver = false;
}

void SetSchedule(uint64_t seed) {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().schedule = seed;
}

void FailCall(uint64_t call, cudaError_t error, Fault fault) {
  Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(machine.mutex);
  machine.calls_to_fault = call;
  machine.fault = error;
  machine.fault_kind = fault;
}

bool FaultIsPending() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().calls_to_fault > 0;
}

std::string KernelReport() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().report;
}

uint64_t KernelCount() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().kernels;
}

uint64_t CopyCount() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().copies;
}

size_t LiveObjects() {
  const Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return machine.allocations.size() + machine.streams.size() + machine.events.size() +
         machine.ipc_mappings.size();
}

// ---- Launches ----

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
  // PTX of an older device has been compiled for this one.
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
  // A stream takes copies whatever the thread's device is, kernels of its own device alone.
  if (!Knows(call, config.stream) || config.stream->device != current_device) {
    return Failed(cudaErrorInvalidResourceHandle);
  }
  LaunchShape shape;
  if (const cudaError_t error = CheckLaunch(call, config, kernel, shape); error != cudaSuccess) {
    return Failed(error);
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

using simt::Call;
using simt::Failed;

// ---- Devices ----

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

cudaError_t cudaDeviceSynchronize() {
  Call call;
  if (call.failed()) return call.error();
  for (simt::Stream* stream : call.machine.streams) simt::RunUntil(*stream, stream->added);
  return call.Result();
}

// ---- Errors ----

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

// ---- Memory ----

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
  if (read_only && !CurrentDevice(call).registers_read_only) return Failed(cudaErrorNotSupported);
  if (!read_only && access != simt::Access::kWrite) return Failed(cudaErrorInvalidValue);
  auto* const first = static_cast<char*>(memory);
  if (call.machine.Overlaps(first, bytes)) return Failed(cudaErrorHostMemoryAlreadyRegistered);
  call.machine.allocations[first] = {bytes, cudaMemoryTypeHost, simt::current_device, true};
  return cudaSuccess;
}

// Waits for nothing: what is still copied from there fails.
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
  // No copy crosses the end of what was allocated or registered at once.
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
  if (source == nullptr) {
    // Pageable memory is read before the call returns.
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

// From pinned memory to a device alone.
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

// ---- Streams and events ----

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

// ---- Sharing with other processes ----

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  const Call call;
  if (call.failed()) return call.error();
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

namespace simt {
namespace {

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
