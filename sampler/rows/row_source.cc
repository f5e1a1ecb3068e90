#include "sampler/rows/row_source.h"

#include "absl/strings/str_cat.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/row_values.h"

namespace token_sampler {

size_t ValueBytes(const RowInput& row) {
  return static_cast<size_t>(row.vocab) * ElementSize(row.dtype);
}

const DeviceMemory* DeviceMemoryOf(const RowInput& row) {
  return row.source == nullptr ? nullptr : row.source->device_memory();
}

bool ReadValues(const RowInput& row, char* to, RowResult& result) {
  const absl::Status status = row.source->Read(row.source_offset, ValueBytes(row), to);
  if (status.ok()) return true;
  FailRow(RowCode::kInvalidInput,
          absl::StrCat("the row's values cannot be read: ", status.message()), result);
  return false;
}

LoadedRow::LoadedRow(const RowInput& row, LargeVector<char>& values, RowResult& result)
    : row_(&row) {
  if (row.source == nullptr) return;
  ResizePaced(row.pace, ValueBytes(row), values);
  copy_ = row;
  copy_.values = values.data();
  copy_.source = nullptr;
  bool read = true;
  InPieces(row.pace, values.size(), size_t{1} << 20, [&](size_t begin, size_t end) {
    read = read && row.source->Read(row.source_offset + begin, end - begin, &values[begin]).ok();
  });
  // If that failed, read once more, to report what is wrong.
  row_ = read || ReadValues(row, values.data(), result) ? &copy_ : nullptr;
}

}  // namespace token_sampler
