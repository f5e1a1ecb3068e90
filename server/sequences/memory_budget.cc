#include "server/sequences/memory_budget.h"

#include "absl/strings/str_cat.h"

namespace token_sampler {

absl::Status MemoryBudget::Take(uint64_t bytes) {
  uint64_t used = used_;
  do {
    if (bytes > limit_ || used > limit_ - bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("open sequences hold ", used, " bytes and would need ", bytes,
                       " more, at most ", limit_, " may be; close some"));
    }
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return absl::OkStatus();
}

absl::Status MemoryShare::Grow(uint64_t bytes) {
  absl::Status status = budget_.Take(bytes);
  if (status.ok()) bytes_ += bytes;
  return status;
}

}  // namespace token_sampler
