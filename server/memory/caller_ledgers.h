// A ledger for each caller, so that no single caller can hold all of the budget.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_

#include <deque>

#include "absl/strings/string_view.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// Thread-safe.
class CallerLedgers {
 public:
  // `all`, which must outlive this, bounds all callers together. One caller may hold three quarters
  // of its budget.
  explicit CallerLedgers(Ledger& all);

  // The ledger of the caller with this name. It lives as long as this. The number of ledgers is
  // fixed: callers may have to share one.
  Ledger& Of(absl::string_view caller);

 private:
  std::deque<Ledger> ledgers_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
