// What is copied to a slot's device memory: rows that were staged, and rows where they lie in
// pinned memory. Neighbours are one copy.

#ifndef TOKEN_SAMPLER_CUDA_COPY_LIST_H_
#define TOKEN_SAMPLER_CUDA_COPY_LIST_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "sampler/row_source.h"

namespace token_sampler::cuda {

class CopyList {
 public:
  // `size` bytes from pinned memory of a source, or from staging (null), to byte `to`, which is
  // behind all that was added before.
  void Add(const RowSource* source, const char* from, size_t to, size_t size);

  // Puts the copies into the stream.
  absl::Status Submit(char* to, cudaStream_t stream) const;

  // Once the stream has been waited for: the sources that do not hold, whose copies mean nothing.
  std::vector<const RowSource*> Lost() const;

  void Clear() { copies_.clear(); }

 private:
  // `rows` of `width` bytes, one every so many.
  struct Copy {
    const RowSource* source = nullptr;
    const char* from = nullptr;
    size_t to = 0;
    size_t width = 0;
    size_t rows = 1;
    size_t from_pitch = 0;
    size_t to_pitch = 0;
  };

  // False when the bytes do not follow the copy.
  static bool Extend(Copy& copy, const char* from, size_t to, size_t size);

  std::vector<Copy> copies_;
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_COPY_LIST_H_
