#include "tests/gpu/device_rows.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

namespace token_sampler::testing {

RowLayout LayOutRows(absl::Span<const RowInput> rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  RowLayout layout;
  layout.offsets.resize(rows.size());
  for (const size_t row : order) {
    constexpr uint64_t kMostBetween = 9;  // elements
    const size_t element = ElementSize(rows[row].dtype);
    const size_t aligned = (layout.bytes.size() + element - 1) / element * element;
    const size_t first = aligned + element * (random() % (kMostBetween + 1));
    const size_t size = ValueBytes(rows[row]);
    layout.offsets[row] = first;
    layout.bytes.resize(first + size);
    std::memcpy(layout.bytes.data() + first, rows[row].values, size);
  }
  return layout;
}

std::vector<RowInput> RowsIn(const RowSource& source, absl::Span<const RowInput> rows,
                             const RowLayout& layout) {
  std::vector<RowInput> there(rows.begin(), rows.end());
  for (size_t row = 0; row < there.size(); ++row) {
    there[row].values = nullptr;
    there[row].source = &source;
    there[row].source_offset = layout.offsets[row];
  }
  return there;
}

absl::Status DeviceBytes::Put(const std::vector<char>& bytes) {
  if (stream_ == nullptr) {
    if (absl::Status status = cuda::Create(stream_); !status.ok()) return status;
  }
  if (bytes.size() > capacity_) {
    const size_t capacity = std::max(bytes.size(), 2 * capacity_);
    if (absl::Status status = cuda::Allocate(capacity, bytes_); !status.ok()) return status;
    capacity_ = capacity;
    place_.address = bytes_.get();
  }
  absl::Status status = cuda::ToStatus(cudaMemcpyAsync(bytes_.get(), bytes.data(), bytes.size(),
                                                       cudaMemcpyHostToDevice, stream_.get()),
                                       "cudaMemcpyAsync");
  if (!status.ok()) return status;
  // Pageable memory has been read when a copy returns, which may still be on its way.
  return cuda::ToStatus(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
}

absl::Status DeviceBytes::Read(uint64_t offset, size_t size, char* to) const {
  return cuda::ToStatus(cudaMemcpy(to, bytes_.get() + offset, size, cudaMemcpyDeviceToHost),
                        "cudaMemcpy");
}

}  // namespace token_sampler::testing
