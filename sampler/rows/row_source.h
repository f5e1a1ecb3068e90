// Where the values of a row are when this process does not hold them in one piece: parts of a
// received message, the shared memory of another process.

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
  const char* address = nullptr;  // of byte 0 of the source, on the device
  void* written = nullptr;        // a cudaEvent_t that the reader waits for; null: none
};

// Thread-safe.
class RowSource {
 public:
  virtual ~RowSource() = default;

  // Where a CUDA device can read the source itself; null: nowhere.
  virtual const DeviceMemory* device_memory() const { return nullptr; }

  // Page-locked host memory with byte 0 of the source, which every CUDA device copies from by DMA;
  // null: none, or not any more. Reading it raises no signal whatever has become of the source, be
  // it by a device or by the CPU, with which CUDA makes small copies. So whoever makes copies asks
  // Holds after them.
  virtual const char* pinned_memory() const { return nullptr; }

  // Whether what has been copied from pinned_memory() so far were bytes of the source. Once is
  // enough behind any number of copies. When not, they mean nothing, and Read decides anew.
  virtual bool Holds() const { return true; }

  // Copies bytes [offset, offset + size), which whoever made the rows has checked to be there. An
  // error fails the rows that lie there.
  virtual absl::Status Read(uint64_t offset, size_t size, char* to) const = 0;
};

// Bytes of the row's values.
size_t ValueBytes(const RowInput& row);

// Copies the values of a row with a source to `to`, which has ValueBytes(row). False, with the
// result set to INVALID_INPUT, when they cannot be read.
bool ReadValues(const RowInput& row, char* to, RowResult& result);

// The row with its values in memory: itself, or a copy that points into `values`. The row must
// outlive it. Null, with the result set, as ReadValues. Throws Interrupted (sampler/rows/paced.h).
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
