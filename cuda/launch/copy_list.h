// The copies to a slot's device memory: of staged rows, and of rows in their sources' pinned
// memory. Adjacent rows become one copy.

#ifndef TOKEN_SAMPLER_CUDA_LAUNCH_COPY_LIST_H_
#define TOKEN_SAMPLER_CUDA_LAUNCH_COPY_LIST_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "sampler/rows/row_source.h"

namespace token_sampler::cuda {

class CopyList {
 public:
  // Adds `size` bytes from pinned memory of `source`, or from staging if it is null, to byte `to`,
  // which must be after all bytes added before.
  void Add(const RowSource* source, const char* from, size_t to, size_t size);

  // Enqueues the copies in the stream. `to` is the start of the device memory.
  absl::Status Submit(char* to, cudaStream_t stream) const;

  // Returns the sources whose Holds() is false: the bytes copied from them are not the rows'. Call
  // it after waiting for the stream.
  std::vector<const RowSource*> Lost() const;

  void Clear() { copies_.clear(); }

 private:
  // Copies `rows` rows of `width` bytes, one every `from_pitch` to one every `to_pitch` bytes.
  struct Copy {
    const RowSource* source = nullptr;
    const char* from = nullptr;
    size_t to = 0;
    size_t width = 0;
    size_t rows = 1;
    size_t from_pitch = 0;
    size_t to_pitch = 0;
  };

  // Extends the copy by the bytes. False when they do not continue its pattern.
  static bool Extend(Copy& copy, const char* from, size_t to, size_t size);

  std::vector<Copy> copies_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LAUNCH_COPY_LIST_H_
