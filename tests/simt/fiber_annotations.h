// Tells the address sanitizer on which stack the program runs. Does nothing without it.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_FIBER_ANNOTATIONS_H_
#define TOKEN_SAMPLER_TESTS_SIMT_FIBER_ANNOTATIONS_H_

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define TOKEN_SAMPLER_SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOKEN_SAMPLER_SIMT_ASAN 1
#endif
#endif

#if defined(TOKEN_SAMPLER_SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

// The annotations of a scheduler and its fibers. Announce every switch before leaving a stack and
// confirm it after entering the other.
class FiberAnnotations {
 public:
#if defined(TOKEN_SAMPLER_SIMT_ASAN)
  void LeaveScheduler(const void* stack, size_t bytes) {
    __sanitizer_start_switch_fiber(&scheduler_fake_stack_, stack, bytes);
  }
  void EnteredScheduler() {
    __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
  }
  // `fake_stack` is null if the fiber ends.
  void LeaveFiber(void** fake_stack) {
    __sanitizer_start_switch_fiber(fake_stack, scheduler_stack_, scheduler_bytes_);
  }
  void EnteredFiber(void* fake_stack) {
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack_, &scheduler_bytes_);
  }
  // Clears what abandoned fibers have left on a stack.
  void Unpoison(void* stack, size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }

 private:
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_bytes_ = 0;
#else
  void LeaveScheduler(const void*, size_t) {}
  void EnteredScheduler() {}
  void LeaveFiber(void**) {}
  void EnteredFiber(void*) {}
  void Unpoison(void*, size_t) {}
#endif
};

}  // namespace simt

#endif  // TOKEN_SAMPLER_TESTS_SIMT_FIBER_ANNOTATIONS_H_
