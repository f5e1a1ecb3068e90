// Each caller's share of the ledger, so that one alone cannot hold all of the budget.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_

#include <deque>
#include <string>

#include "absl/strings/string_view.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// The caller behind a peer as gRPC names it ("ipv4:10.0.0.7:4711", "ipv6:%5B::1%5D:4711",
// "unix:/path"): the address without its port, of IPv6 the network of 64 bits, which one machine
// may have all of.
std::string CallerOf(absl::string_view peer);

// Thread-safe.
class CallerLedgers {
 public:
  // `all`, which must outlive it, bounds the callers together; one may hold three quarters.
  explicit CallerLedgers(Ledger& all);

  // The ledger of the peer's caller; lives as long as this. There is a fixed number of them, and
  // callers may have to share one.
  Ledger& Of(absl::string_view peer);

 private:
  std::deque<Ledger> ledgers_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_CALLER_LEDGERS_H_
