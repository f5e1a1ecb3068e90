// Device memory that another process shares by CUDA's IPC handles. Names no CUDA type, as
// cuda_sampler.h.

#ifndef TOKEN_SAMPLER_CUDA_IPC_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_IPC_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sampler/row_source.h"

namespace token_sampler {

// Bytes of an allocation.
struct IpcRange {
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// Thread-safe. The process that shares the memory must not free it before this goes: CUDA does not
// tell.
class IpcMemory {
 public:
  // Opens the memory of a cudaIpcMemHandle_t (64 bytes) and, unless it is empty, the event of a
  // cudaIpcEventHandle_t (64 bytes), which its owner records behind what it writes. InvalidArgument
  // for a device that is not there and for handles that cannot be opened, OutOfRange when the range
  // does not lie inside the allocation, FailedPrecondition in a build without CUDA. A handle is of
  // a whole allocation, whichever address of it its owner made it from.
  static absl::StatusOr<std::unique_ptr<IpcMemory>> Open(uint32_t device, absl::string_view handle,
                                                         absl::string_view event,
                                                         const IpcRange& range);

  virtual ~IpcMemory() = default;

  // Where the sampler of the device reads the range.
  virtual const DeviceMemory& place() const = 0;

  // Copies bytes [offset, offset + size) of the range, which must lie inside, once the event has
  // come. Internal when the device fails.
  virtual absl::Status Read(uint64_t offset, size_t size, char* to) const = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_IPC_MEMORY_H_
