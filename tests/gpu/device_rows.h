// Rows in one allocation of device 0, or of another process there.

#ifndef TOKEN_SAMPLER_TESTS_GPU_DEVICE_ROWS_H_
#define TOKEN_SAMPLER_TESTS_GPU_DEVICE_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "cuda/launch/cuda_handles.h"
#include "sampler/rows/row_source.h"
#include "sampler/sampler.h"

namespace token_sampler::testing {

// The start of each row, in bytes, and the bytes of all. The rows stand in any order, with any
// number of elements between them, so that most of them are aligned only to their elements.
struct RowLayout {
  std::vector<uint64_t> offsets;
  std::vector<char> bytes;
};
RowLayout LayOutRows(absl::Span<const RowInput> rows, uint64_t seed);

// The rows with their values in `source`, laid out so.
std::vector<RowInput> RowsIn(const RowSource& source, absl::Span<const RowInput> rows,
                             const RowLayout& layout);

// Memory of device 0 for the rows of one call after the other: cudaMalloc and cudaFree wait for all
// that the device does, so that they must not be part of each call.
class DeviceBytes final : public RowSource {
 public:
  // Replaces what was there, which nobody may be reading. The bytes are on the device on return.
  absl::Status Put(const std::vector<char>& bytes);

  const DeviceMemory* device_memory() const override { return &place_; }
  absl::Status Read(uint64_t offset, size_t size, char* to) const override;

 private:
  cuda::Stream stream_;
  cuda::DeviceArray<char> bytes_;
  size_t capacity_ = 0;
  DeviceMemory place_;
};

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_DEVICE_ROWS_H_
