// Loses the emulated device at the call of the runtime that LOSE_DEVICE_AT names.

#include <cstdlib>

#include "tests/simt/machine.h"

namespace {

const bool fault_is_set = [] {
  const char* const call = std::getenv("LOSE_DEVICE_AT");
  if (call == nullptr) return false;
  simt::FailCall(std::strtoull(call, nullptr, 10), cudaErrorIllegalAddress, simt::Fault::kSticky);
  return true;
}();

}  // namespace
