#include "server/memory/caller_ledgers.h"

#include <cstddef>
#include <cstdint>

#include "absl/hash/hash.h"

namespace token_sampler {
namespace {

// Enough that callers seldom share one.
constexpr size_t kLedgers = 256;

}  // namespace

CallerLedgers::CallerLedgers(Ledger& all) {
  const uint64_t share = all.budget() - all.budget() / 4;
  for (size_t i = 0; i < kLedgers; ++i) ledgers_.emplace_back(share, &all);
}

Ledger& CallerLedgers::Of(absl::string_view caller) {
  return ledgers_[absl::Hash<absl::string_view>()(caller) % kLedgers];
}

}  // namespace token_sampler
