#include "server/memory/ledger.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

constexpr absl::string_view kNames[kAccounts] = {"requests", "work", "answers", "sequences",
                                                 "regions"};

// Adds `bytes` to `used` unless the sum would exceed `limit`: then false. Sets `before` to the old
// value in either case.
bool Add(std::atomic<uint64_t>& used, uint64_t bytes, uint64_t limit, uint64_t& before) {
  before = used.load(std::memory_order_relaxed);
  do {
    if (bytes > limit || before > limit - bytes) return false;
  } while (!used.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  return true;
}

}  // namespace

absl::string_view AccountName(Account account) { return kNames[static_cast<size_t>(account)]; }

Ledger::Ledger(uint64_t budget, Ledger* all) : budget_(budget), all_(all) {
  for (Limited& account : accounts_) account.limit = std::numeric_limits<uint64_t>::max();
}

void Ledger::LimitAccount(Account account, uint64_t limit, absl::string_view flag,
                          absl::string_view advice) {
  of(account).limit = limit;
  of(account).flag = flag;
  of(account).advice = advice;
}

uint64_t Ledger::used(Account account) const {
  return accounts_[static_cast<size_t>(account)].used.load(std::memory_order_relaxed);
}

absl::Status Ledger::Take(Account account, uint64_t bytes) {
  Limited& limited = of(account);
  uint64_t before = 0;
  if (!Add(limited.used, bytes, limited.limit, before)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        AccountName(account), " hold ", before, " bytes and would need ", bytes,
        " more, above the limit of ", limited.limit, " (", limited.flag, "); ", limited.advice));
  }
  if (!Add(used_, bytes, budget_, before)) {
    limited.used.fetch_sub(bytes, std::memory_order_relaxed);
    const std::string whose =
        all_ == nullptr
            ? absl::StrCat("the server's ", budget_, " (--memory-budget)")
            : absl::StrCat("the ", budget_, " that one caller may hold of --memory-budget");
    return absl::ResourceExhaustedError(absl::StrCat(AccountName(account), " would need ", bytes,
                                                     " bytes more, ", budget_ - before, " of ",
                                                     whose, " are left"));
  }
  if (all_ != nullptr) {
    if (absl::Status status = all_->Take(account, bytes); !status.ok()) {
      used_.fetch_sub(bytes, std::memory_order_relaxed);
      limited.used.fetch_sub(bytes, std::memory_order_relaxed);
      return status;
    }
  }
  const uint64_t now = before + bytes;
  uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < now && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return absl::OkStatus();
}

void Ledger::Give(Account account, uint64_t bytes) {
  of(account).used.fetch_sub(bytes, std::memory_order_relaxed);
  used_.fetch_sub(bytes, std::memory_order_relaxed);
  if (all_ != nullptr) all_->Give(account, bytes);
}

absl::Status MemoryGrant::Grow(uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  if (ledger_ != nullptr) {
    RETURN_IF_ERROR(ledger_->Take(account_, bytes));
  }
  bytes_ += bytes;
  return absl::OkStatus();
}

void MemoryGrant::ShrinkTo(uint64_t bytes) {
  if (bytes >= bytes_) return;
  if (ledger_ != nullptr) ledger_->Give(account_, bytes_ - bytes);
  bytes_ = bytes;
}

}  // namespace token_sampler
