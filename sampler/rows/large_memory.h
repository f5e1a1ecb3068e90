// Memory of long rows, in large pages if the system has them: touching and freeing it in pages of 4
// KB takes longer than most passes over it. Freeing much of it takes longer than a slice, so the
// row's pace is asked in between.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_LARGE_MEMORY_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_LARGE_MEMORY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "sampler/rows/pace.h"

namespace token_sampler {

// While this lives, the thread that made it asks `pace` between pieces of large memory that it
// frees. If the pace says to stop, the rest is freed without asking. Null: no pace is asked.
class FreeingPace {
 public:
  explicit FreeingPace(Pace* pace) : before_(current_) { current_ = pace; }
  ~FreeingPace() { current_ = before_; }

  FreeingPace(const FreeingPace&) = delete;
  FreeingPace& operator=(const FreeingPace&) = delete;

  static Pace* current() { return current_; }

 private:
  static inline thread_local Pace* current_ = nullptr;

  Pace* const before_;
};

// Frees `bytes` that LargeAllocator allocated.
inline void FreeLarge(void* memory, size_t bytes) {
  // Takes a fraction of a millisecond in pages of 4 KB.
  constexpr size_t kPiece = size_t{4} << 20;
  Pace* const pace = FreeingPace::current();
  if (pace != nullptr && memory != nullptr) {
    // Smaller blocks may not begin at a page boundary, which madvise requires.
    for (size_t end = kPiece; bytes >= 2 * kPiece && end <= bytes; end += kPiece) {
      madvise(static_cast<char*>(memory) + end - kPiece, kPiece, MADV_DONTNEED);
      if (!pace->GoOn()) break;
    }
  }
  std::free(memory);
}

// An allocator for standard containers. Blocks of 4 MiB or more are aligned to large pages.
template <class T>
struct LargeAllocator {
  using value_type = T;

  LargeAllocator() = default;
  template <class Other>
  LargeAllocator(const LargeAllocator<Other>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t count) {
    constexpr size_t kPage = size_t{2} << 20;
    if (count > (SIZE_MAX - kPage) / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = count * sizeof(T);
    const bool large = bytes >= 2 * kPage;
    void* const memory =
        large ? std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage) : std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    if (large) madvise(memory, bytes, MADV_HUGEPAGE);  // if this fails, the memory has small pages
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) { FreeLarge(memory, count * sizeof(T)); }

  template <class Other>
  bool operator==(const LargeAllocator<Other>&) const {
    return true;
  }
};

template <class T>
using LargeVector = std::vector<T, LargeAllocator<T>>;

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_LARGE_MEMORY_H_
