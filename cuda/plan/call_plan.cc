#include "cuda/plan/call_plan.h"

#include "cuda/plan/job_plan.h"
#include "sampler/rows/row_source.h"

namespace token_sampler::cuda {
namespace {

// Why the CPU must sample a row; empty if a device can.
absl::string_view WhyNotDevice(const RowInput& row, const Devices& devices) {
  if (const absl::string_view why = WhyNotKernel(row); !why.empty()) return why;
  return devices.fit(row) ? "" : "vocab";
}

// The rows of a call that are in no device's memory.
struct RowsOnHost {
  std::vector<size_t> indexes;
  HostRows of_work[kRowWorks] = {};

  void Add(size_t index, const RowInput& row) {
    HostRows& same = of_work[static_cast<size_t>(WorkOf(*row.params))];
    same.tokens += static_cast<size_t>(row.vocab);
    same.bytes += ValueBytes(row);
    indexes.push_back(index);
  }
};

}  // namespace

CallPlan PlanCall(absl::Span<const RowInput> rows, const Devices& devices,
                  const HostRowPolicy& policy) {
  CallPlan plan;
  const auto leave_to_cpu = [&plan](size_t index, absl::string_view why) {
    ++plan.cpu_reasons[why];
    plan.on_cpu.push_back(index);
  };
  RowsOnHost on_host;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (const absl::string_view why = WhyNotDevice(rows[i], devices); !why.empty()) {
      leave_to_cpu(i, why);
      continue;
    }
    const DeviceMemory* const memory = DeviceMemoryOf(rows[i]);
    if (memory != nullptr && devices.has(memory->device)) {
      plan.on_device[memory->device].push_back(i);
    } else {
      on_host.Add(i, rows[i]);
    }
  }
  std::vector<size_t>* from_host = nullptr;
  for (const size_t i : on_host.indexes) {
    const RowWork work = WorkOf(*rows[i].params);
    if (policy.ForCpu(work, on_host.of_work[static_cast<size_t>(work)])) {
      leave_to_cpu(i, kHostRows);
      continue;
    }
    if (from_host == nullptr) {
      if (plan.on_device.empty()) plan.on_device[kAnyDevice];
      from_host = &plan.on_device.begin()->second;
    }
    from_host->push_back(i);
  }
  return plan;
}

}  // namespace token_sampler::cuda
