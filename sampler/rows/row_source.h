// The source of a row's values that this process does not hold in one piece, such as parts of a
// received message or another process's shared memory.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_ROW_SOURCE_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_ROW_SOURCE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// A CUDA device's memory.
struct DeviceMemory {
  int device = 0;
  const char* address = nullptr;  // on the device, of byte 0 of the source
  void* written = nullptr;        // a cudaEvent_t for which the reader must wait; null: none
};

// Thread-safe.
class RowSource {
 public:
  virtual ~RowSource() = default;

  // The memory in which a CUDA device can read the source itself; null if there is none.
  virtual const DeviceMemory* device_memory() const { return nullptr; }

  // Page-locked host memory that begins with byte 0 of the source, from which every CUDA device
  // copies by DMA; null if there is none, or no longer. Reading it never raises a signal, whatever
  // has become of the source, whether a device reads or the CPU, with which CUDA makes small
  // copies. After copying, call Holds(): if it is false, the copied bytes are not the row's.
  virtual const char* pinned_memory() const { return nullptr; }

  // True if all bytes copied so far from pinned_memory() were those of the source. One call after
  // any number of copies is enough. If false, discard the copies and call Read.
  virtual bool Holds() const { return true; }

  // Copies bytes [offset, offset + size) to `to`. The maker of the rows has checked that the source
  // has them. An error fails the rows to which they belong.
  virtual absl::Status Read(uint64_t offset, size_t size, char* to) const = 0;
};

// The size of the row's values in bytes.
size_t ValueBytes(const RowInput& row);

// The device memory that holds the source of the row; null if it is in none.
const DeviceMemory* DeviceMemoryOf(const RowInput& row);

// Copies the values of a row with a source to `to`, which has room for ValueBytes(row). If they
// cannot be read, returns false and sets the result to INVALID_INPUT.
bool ReadValues(const RowInput& row, char* to, RowResult& result);

// A row with its values in memory: `row` itself, which must outlive this, or a copy that points
// into `values`. get() is null, and the result INVALID_INPUT, if the values cannot be read. The
// constructor may throw Interrupted (sampler/rows/paced.h).
class LoadedRow {
 public:
  LoadedRow(const RowInput& row, LargeVector<char>& values, RowResult& result);

  const RowInput* get() const { return row_; }

 private:
  RowInput copy_;
  const RowInput* row_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_ROW_SOURCE_H_
