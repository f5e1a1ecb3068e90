#include "tests/fuzz/allocations.h"

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace token_sampler {
namespace {

// The hooks are C functions that take no state, and other threads of libFuzzer allocate as well.
thread_local bool counting = false;
thread_local int64_t held = 0;
thread_local int64_t peak = 0;
thread_local int64_t count = 0;

void OnAllocation(const volatile void* /*memory*/, size_t size) {
  if (!counting) return;
  ++count;
  held += static_cast<int64_t>(size);
  peak = std::max(peak, held);
}

void OnFree(const volatile void* memory) {
  if (!counting) return;
  held -= static_cast<int64_t>(__sanitizer_get_allocated_size(memory));
}

}  // namespace

Allocations::Allocations() {
  static const bool installed =
      __sanitizer_install_malloc_and_free_hooks(OnAllocation, OnFree) != 0;
  if (!installed) std::abort();
  held = peak = count = 0;
  counting = true;
}

Allocations::~Allocations() { counting = false; }

Uncounted::Uncounted() { counting = false; }

Uncounted::~Uncounted() { counting = true; }

int64_t Allocations::Peak() { return peak; }

int64_t Allocations::Held() { return held; }

int64_t Allocations::Count() { return count; }

}  // namespace token_sampler
