// Device memory that another process shares by CUDA's IPC handles. Names no CUDA type, like
// cuda_sampler.h.

#ifndef TOKEN_SAMPLER_CUDA_MEMORY_IPC_MEMORY_H_
#define TOKEN_SAMPLER_CUDA_MEMORY_IPC_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sampler/rows/row_source.h"

namespace token_sampler {

// A range of bytes of an allocation.
struct IpcRange {
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// Thread-safe. The process that shares the memory must not free it while this lives: CUDA does not
// report that.
class IpcMemory {
 public:
  // Opens the memory of a cudaIpcMemHandle_t (64 bytes) and, unless `event` is empty, the event of
  // a cudaIpcEventHandle_t (64 bytes), which the owner records after it writes. A handle stands for
  // a whole allocation, whichever address in it the owner made it from. InvalidArgument when there
  // is no such device or a handle cannot be opened, OutOfRange unless the range is inside the
  // allocation, FailedPrecondition in a build without CUDA.
  static absl::StatusOr<std::unique_ptr<IpcMemory>> Open(uint32_t device, absl::string_view handle,
                                                         absl::string_view event,
                                                         const IpcRange& range);

  virtual ~IpcMemory() = default;

  // The address of the range, where the device's sampler reads it.
  virtual const DeviceMemory& place() const = 0;

  // Waits for the event, and copies bytes [offset, offset + size) of the range, which must be
  // inside it. Internal when the device fails.
  virtual absl::Status Read(uint64_t offset, size_t size, char* to) const = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CUDA_MEMORY_IPC_MEMORY_H_
