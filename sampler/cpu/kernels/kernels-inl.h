// The table of the kernels of the SIMD target that HWY_TARGET names. Only kernels.cc includes this,
// once per target.

#if defined(TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_INL_H_
#undef TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_INL_H_
#else
#define TOKEN_SAMPLER_SAMPLER_CPU_KERNELS_KERNELS_INL_H_
#endif

#include "hwy/highway.h"
#include "sampler/cpu/kernels/collect-inl.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/kernels/list-inl.h"
#include "sampler/cpu/kernels/values-inl.h"
#include "sampler/cpu/kernels/weigh-inl.h"

// NOLINTBEGIN(misc-definitions-in-headers): only kernels.cc includes this, once per SIMD target,
// each of which has a namespace of its own.
HWY_BEFORE_NAMESPACE();
namespace token_sampler::cpu::HWY_NAMESPACE {

template <DataType type>
constexpr RowKernels MakeRowKernels() {
  return {Scan<type>,   FindFirst<type>, Collect<type>,    Widen<type>,
          Sample<type>, Weigh<type>,     WeighBlocks<type>};
}

const Kernels* TargetKernels() {
  static const Kernels kernels = {
      hwy::TargetName(HWY_TARGET),
      kLanes,
      {MakeRowKernels<DataType::kFloat32>(), MakeRowKernels<DataType::kFloat16>(),
       MakeRowKernels<DataType::kBFloat16>(), MakeRowKernels<DataType::kFloat64>()},
      CountAtLeast,
      SumAtLeast,
      Retain,
      Bin};
  return &kernels;
}

}  // namespace token_sampler::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-definitions-in-headers)

#endif  // toggled include guard
