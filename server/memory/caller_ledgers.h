// Each caller's share of the ledger, so that one alone cannot hold all of the budget.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_

#include <deque>

#include "absl/strings/string_view.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// Thread-safe.
class CallerLedgers {
 public:
  // `all`, which must outlive it, bounds the callers together; one may hold three quarters.
  explicit CallerLedgers(Ledger& all);

  // The ledger of a caller, by any name; lives as long as this. There is a fixed number of them,
  // and callers may have to share one.
  Ledger& Of(absl::string_view caller);

 private:
  std::deque<Ledger> ledgers_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
