// Memory that grows and never shrinks, so that a repeated call allocates nothing.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_BUFFER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_BUFFER_H_

#include <cstddef>
#include <memory>

#include "sampler/cpu/kernels/kernels.h"
#include "sampler/rows/large_memory.h"

namespace token_sampler::cpu {

template <typename T>
class Buffer {
 public:
  // Makes room for `count` elements and the kernels' slack. The contents are lost if it grows.
  T* Reserve(size_t count) {
    if (count > capacity_) {
      data_.reset();
      data_ = Memory(LargeAllocator<T>().allocate(count + kSlack), Free{count + kSlack});
      capacity_ = count;
    }
    return data_.get();
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  struct Free {
    void operator()(T* memory) const { LargeAllocator<T>().deallocate(memory, count); }

    size_t count = 0;
  };
  using Memory = std::unique_ptr<T[], Free>;

  Memory data_;
  size_t capacity_ = 0;
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_BUFFER_H_
