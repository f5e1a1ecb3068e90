// Measures how much memory a piece of code takes, with the sanitizer's allocator.

#ifndef TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_
#define TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_

#include <cstdint>

namespace token_sampler {

// While this lives, counts what the program allocates and frees. Only one at a time, on one thread.
class Allocations {
 public:
  Allocations();
  ~Allocations();

  Allocations(const Allocations&) = delete;
  Allocations& operator=(const Allocations&) = delete;

  // The most bytes held at a time, besides those held at the beginning.
  static int64_t Peak();

  // The bytes held now, besides those held at the beginning.
  static int64_t Held();

  static int64_t Count();
};

// While this lives within an Allocations, nothing is counted.
class Uncounted {
 public:
  Uncounted();
  ~Uncounted();

  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_FUZZ_ALLOCATIONS_H_
