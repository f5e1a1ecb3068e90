// Accounts for the server's memory: whoever is about to hold much on a caller's behalf is
// granted it first, so that what all callers make the server hold stays within one budget.
//
// It counts what callers can make large. What the server has in any case (code, threads, the
// sampler's buffers) and what gRPC holds before a message is complete are not in it.

#ifndef TOKEN_SAMPLER_SERVER_MEMORY_LEDGER_H_
#define TOKEN_SAMPLER_SERVER_MEMORY_LEDGER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

enum class Account : uint8_t {
  kRequests,   // messages as they were received, and what they became when they were parsed
  kWork,       // what a job needs while it runs, beyond the sampler's own buffers
  kAnswers,    // results, and answers that the transport has not sent yet
  kSequences,  // of all streams
  kRegions,    // pinned pages of shared memory
};
inline constexpr size_t kAccounts = 5;

// "requests", "work" ...
absl::string_view AccountName(Account account);

// Thread-safe.
class Ledger {
 public:
  // `budget` bounds all accounts together. What is taken from a caller's ledger is taken from that
  // of `all` callers too, which must outlive it.
  explicit Ledger(uint64_t budget, Ledger* all = nullptr);

  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Bounds one account besides. Call it before the ledger is used. `flag` is what an operator
  // changes, and `advice` what a caller can do, for errors: "close some".
  void LimitAccount(Account account, uint64_t limit, absl::string_view flag,
                    absl::string_view advice);

  uint64_t budget() const { return budget_; }
  uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  uint64_t used(Account account) const;

  // The most that was ever used at once.
  uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  friend class MemoryGrant;

  struct Limited {
    std::atomic<uint64_t> used{0};
    uint64_t limit = 0;
    absl::string_view flag;
    absl::string_view advice;
  };

  Limited& of(Account account) { return accounts_[static_cast<size_t>(account)]; }

  // ResourceExhausted, and nothing is taken, when the account or all together would be beyond their
  // limit.
  absl::Status Take(Account account, uint64_t bytes);
  void Give(Account account, uint64_t bytes);

  const uint64_t budget_;
  Ledger* const all_;
  std::atomic<uint64_t> used_{0};
  std::atomic<uint64_t> peak_{0};
  std::array<Limited, kAccounts> accounts_;
};

// The memory that one object holds. Given back when the grant goes. Not thread-safe; grants of one
// ledger may be used from several threads.
class MemoryGrant {
 public:
  // Holds nothing. A null ledger, which must otherwise outlive the grant, grants everything.
  MemoryGrant(Ledger* ledger, Account account) : ledger_(ledger), account_(account) {}
  ~MemoryGrant() { ShrinkTo(0); }

  MemoryGrant(MemoryGrant&& other) noexcept
      : ledger_(other.ledger_), account_(other.account_), bytes_(other.bytes_) {
    other.bytes_ = 0;
  }
  MemoryGrant& operator=(MemoryGrant&&) = delete;

  // Takes more. ResourceExhausted, which says what was asked for and what is left, leaves the grant
  // as it is.
  absl::Status Grow(uint64_t bytes);

  // Gives back all above `bytes`, if there is any.
  void ShrinkTo(uint64_t bytes);

  uint64_t bytes() const { return bytes_; }

 private:
  Ledger* const ledger_;
  const Account account_;
  uint64_t bytes_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_LEDGER_H_
