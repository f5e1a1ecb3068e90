// Divides the rows of one call between the devices and the CPU.

#ifndef TOKEN_SAMPLER_CUDA_PLAN_CALL_PLAN_H_
#define TOKEN_SAMPLER_CUDA_PLAN_CALL_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "cuda/plan/host_row_policy.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// Stands for whichever device is free.
inline constexpr int kAnyDevice = -1;

// The reason of rows that the policy leaves to the CPU.
inline constexpr absl::string_view kHostRows = "host_rows";

// The rows are given by their index in the call.
struct CallPlan {
  std::map<int, std::vector<size_t>> on_device;  // by device number or kAnyDevice
  std::vector<size_t> on_cpu;
  std::map<absl::string_view, uint64_t> cpu_reasons;  // the number of rows of on_cpu, by the reason
                                                      // why they are there
};

// The devices that a call may use.
struct Devices {
  absl::FunctionRef<bool(int device)> has;
  absl::FunctionRef<bool(const RowInput&)> fit;  // true if the device of the row, or each device
                                                 // if it has none, has room for it
};

// A row in the memory of a device goes to that device. Other rows go to the first device that has
// rows anyway, or else to any. A row goes to the CPU if the kernel does not take it, if it does not
// fit, or if it is on the host and the policy says that the CPU is faster.
CallPlan PlanCall(absl::Span<const RowInput> rows, const Devices& devices,
                  const HostRowPolicy& policy);

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_PLAN_CALL_PLAN_H_
