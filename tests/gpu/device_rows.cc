#include "tests/gpu/device_rows.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

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

absl::StatusOr<std::unique_ptr<DeviceBytes>> DeviceBytes::Create(const std::vector<char>& bytes) {
  cuda::DeviceArray<char> memory;
  absl::Status status = cuda::Allocate(bytes.size(), memory);
  if (!status.ok()) return status;
  status = cuda::ToStatus(
      cudaMemcpy(memory.get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  if (!status.ok()) return status;
  return std::unique_ptr<DeviceBytes>(new DeviceBytes(std::move(memory)));
}

absl::Status DeviceBytes::Read(uint64_t offset, size_t size, char* to) const {
  return cuda::ToStatus(cudaMemcpy(to, bytes_.get() + offset, size, cudaMemcpyDeviceToHost),
                        "cudaMemcpy");
}

}  // namespace token_sampler::testing
