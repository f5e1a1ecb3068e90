#include "cuda/memory/pinned_memory.h"

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "cuda/launch/cuda_handles.h"

namespace token_sampler {
namespace {

class RegisteredPages final : public PinnedMemory {
 public:
  explicit RegisteredPages(void* pages) : pages_(pages) {}
  RegisteredPages(const RegisteredPages&) = delete;
  RegisteredPages& operator=(const RegisteredPages&) = delete;
  ~RegisteredPages() override { static_cast<void>(cudaHostUnregister(pages_)); }

 private:
  void* const pages_;
};

// True when every device reports the value `expected` for the attribute.
bool EveryDeviceHas(cudaDeviceAttr attribute, int expected) {
  int count = 0;
  bool every = cudaGetDeviceCount(&count) == cudaSuccess;
  for (int device = 0; every && device < count; ++device) {
    int value = 0;
    every = cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess && value == expected;
  }
  // Clear any error, so that no later call reports it.
  static_cast<void>(cudaGetLastError());
  return every;
}

}  // namespace

bool PinnedMemory::TakesReadOnly() {
  return EveryDeviceHas(cudaDevAttrHostRegisterReadOnlySupported, 1);
}

absl::StatusOr<std::unique_ptr<PinnedMemory>> PinnedMemory::Pin(const char* pages, size_t size,
                                                                bool read_only) {
  // On other devices cudaHostRegister locks nothing, and a page that disappears would be an error
  // of the device.
  if (!EveryDeviceHas(cudaDevAttrPageableMemoryAccessUsesHostPageTables, 0)) {
    return absl::UnimplementedError("a device reads memory by the page tables of the process");
  }
  void* const address = const_cast<char*>(pages);
  const unsigned flags =
      cudaHostRegisterPortable | (read_only ? cudaHostRegisterReadOnly : cudaHostRegisterDefault);
  absl::Status status = cuda::ToStatus(cudaHostRegister(address, size, flags), "cudaHostRegister");
  if (status.ok()) return std::make_unique<RegisteredPages>(address);
  static_cast<void>(cudaGetLastError());
  return status;
}

}  // namespace token_sampler
