// Memory of long rows in large pages, where the system has them: touching and freeing it by pages
// of 4 KB takes longer than most passes over it.

#ifndef TOKEN_SAMPLER_SAMPLER_LARGE_MEMORY_H_
#define TOKEN_SAMPLER_SAMPLER_LARGE_MEMORY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

namespace token_sampler {

// For standard containers.
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
    if (large) madvise(memory, bytes, MADV_HUGEPAGE);  // it is memory all the same where that fails
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  template <class Other>
  bool operator==(const LargeAllocator<Other>&) const {
    return true;
  }
};

template <class T>
using LargeVector = std::vector<T, LargeAllocator<T>>;

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_LARGE_MEMORY_H_
