#include "tests/simt/machine.h"

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/simt/machine_state.h"

namespace simt {

void ResetMachine() {
  Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(machine.mutex);
  machine.devices = {Device()};
  machine.has_driver = true;
  machine.schedule = 0;
  machine.calls_to_fault = 0;
  machine.sticky = cudaSuccess;
  machine.report.clear();
  machine.kernels = 0;
  machine.copies = 0;
  machine.functions.clear();
  current_device = 0;
  last_error = cudaSuccess;
}

void SetDevices(std::vector<Device> devices) {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().devices = std::move(devices);
}

void RemoveDriver() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().has_driver = false;
}

void SetSchedule(uint64_t seed) {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  Machine::Get().schedule = seed;
}

void FailCall(uint64_t call, cudaError_t error, Fault fault) {
  Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(machine.mutex);
  machine.calls_to_fault = call;
  machine.fault = error;
  machine.fault_kind = fault;
}

bool FaultIsPending() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().calls_to_fault > 0;
}

std::string KernelReport() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().report;
}

uint64_t KernelCount() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().kernels;
}

uint64_t CopyCount() {
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return Machine::Get().copies;
}

size_t LiveObjects() {
  const Machine& machine = Machine::Get();
  const std::lock_guard<std::recursive_mutex> lock(Machine::Get().mutex);
  return machine.allocations.size() + machine.streams.size() + machine.events.size() +
         machine.graphs.size() + machine.ipc_mappings.size();
}

}  // namespace simt
