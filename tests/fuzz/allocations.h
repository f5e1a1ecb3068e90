// How much memory a piece of code takes, counted in the sanitizer's allocator.

#ifndef TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_
#define TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_

#include <cstdint>

namespace token_sampler {

// Counts while it lives what the program allocates and frees. One at a time, on one thread.
class Allocations {
 public:
  Allocations();
  ~Allocations();

  Allocations(const Allocations&) = delete;
  Allocations& operator=(const Allocations&) = delete;

  // The most bytes that were held at once, beyond those of the beginning.
  static int64_t Peak();

  // The bytes that are held now, beyond those of the beginning.
  static int64_t Held();

  static int64_t Count();
};

// While it lives within an Allocations, nothing is counted.
class Uncounted {
 public:
  Uncounted();
  ~Uncounted();

  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_
