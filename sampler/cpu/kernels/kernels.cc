// Compiles kernels-inl.h for every target that has fused multiply-add, and for the portable one.

#include "sampler/cpu/kernels/kernels.h"

// Portable code needs EMU128. Highway excludes it before GCC 12.3 because of a wrong 16-bit
// product, which is not used here.
#define HWY_BROKEN_EMU128 0
#define HWY_COMPILE_ALL_ATTAINABLE
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sampler/cpu/kernels/kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "sampler/cpu/kernels/kernels-inl.h"

#if HWY_ONCE
namespace token_sampler::cpu {

const std::vector<const Kernels*>& SupportedKernels() {
  static const std::vector<const Kernels*> kernels = [] {
    std::vector<const Kernels*> found;
    const int64_t supported = hwy::SupportedTargets() | HWY_STATIC_TARGET;
    for (int64_t left = HWY_TARGETS; left != 0; left &= left - 1) {
      const int64_t target = left & -left;  // the lowest bit is the fastest
      const Kernels* candidate = nullptr;
      switch (target) {
#if HWY_TARGETS & HWY_AVX3
        case HWY_AVX3:
          candidate = N_AVX3::TargetKernels();
          break;
#endif
#if HWY_TARGETS & HWY_AVX2
        case HWY_AVX2:
          candidate = N_AVX2::TargetKernels();
          break;
#endif
#if HWY_TARGETS & HWY_NEON
        case HWY_NEON:
          candidate = N_NEON::TargetKernels();
          break;
#endif
        default:
          candidate = N_EMU128::TargetKernels();
          break;
      }
      if ((supported & target) != 0 || target == HWY_EMU128) found.push_back(candidate);
    }
    return found;
  }();
  return kernels;
}

}  // namespace token_sampler::cpu
#endif  // HWY_ONCE
