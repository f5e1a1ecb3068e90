// Accounts for the server's memory: code that is about to hold much memory on a caller's behalf is
// granted it first, so that all that callers make the server hold stays within one budget.
//
// The budget covers what callers can make large. It excludes what the server needs in any case
// (code, threads, the sampler's buffers) and what gRPC holds before a message is complete.

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
  kRequests,   // messages as received, and as parsed
  kWork,       // what a job needs while it runs, beyond the sampler's own buffers
  kAnswers,    // results, and answers not yet sent
  kSequences,  // of all streams
  kRegions,    // pinned pages of shared memory
};
inline constexpr size_t kAccounts = 5;

// "requests", "work" ...
absl::string_view AccountName(Account account);

// Thread-safe.
class Ledger {
 public:
  // `budget` bounds all accounts together. What is taken from this ledger is also taken from `all`,
  // unless it is null; `all` must outlive this.
  explicit Ledger(uint64_t budget, Ledger* all = nullptr);

  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Bounds one account as well. Call it before the ledger is used. Errors name `flag`, which an
  // operator can change, and `advice` for the caller, such as "close some".
  void LimitAccount(Account account, uint64_t limit, absl::string_view flag,
                    absl::string_view advice);

  uint64_t budget() const { return budget_; }
  uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  uint64_t used(Account account) const;

  // The most that was ever used at a time.
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

  // Takes the bytes. ResourceExhausted, without taking any, when the account, the budget or the
  // ledger of all callers would exceed its limit.
  absl::Status Take(Account account, uint64_t bytes);
  void Give(Account account, uint64_t bytes);

  const uint64_t budget_;
  Ledger* const all_;
  std::atomic<uint64_t> used_{0};
  std::atomic<uint64_t> peak_{0};
  std::array<Limited, kAccounts> accounts_;
};

// The memory that one object has been granted; its destructor gives it back. Not thread-safe, but
// different threads may use grants of one ledger.
class MemoryGrant {
 public:
  // Holds nothing yet. A null ledger grants everything; any other must outlive the grant.
  MemoryGrant(Ledger* ledger, Account account) : ledger_(ledger), account_(account) {}
  ~MemoryGrant() { ShrinkTo(0); }

  MemoryGrant(MemoryGrant&& other) noexcept
      : ledger_(other.ledger_), account_(other.account_), bytes_(other.bytes_) {
    other.bytes_ = 0;
  }
  MemoryGrant& operator=(MemoryGrant&&) = delete;

  // Takes `bytes` more. ResourceExhausted, with the grant unchanged, states what was asked for and
  // what the limits are.
  absl::Status Grow(uint64_t bytes);

  // Gives back whatever the grant holds above `bytes`.
  void ShrinkTo(uint64_t bytes);

  uint64_t bytes() const { return bytes_; }

 private:
  Ledger* const ledger_;
  const Account account_;
  uint64_t bytes_ = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_MEMORY_LEDGER_H_
