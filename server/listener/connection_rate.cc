#include "server/listener/connection_rate.h"

#include <algorithm>

namespace token_sampler {
namespace {

constexpr size_t kMaxGroups = 10'000;
constexpr std::chrono::nanoseconds kSecond = std::chrono::seconds(1);

}  // namespace

ConnectionRate::ConnectionRate(uint64_t per_second, uint64_t burst)
    : interval_(std::max<int64_t>(1, kSecond.count() / static_cast<int64_t>(per_second))),
      depth_(interval_ * static_cast<int64_t>(burst)) {}

bool ConnectionRate::Take(const std::string& group, Time now) {
  const auto found = full_at_.find(group);
  const Time full_at = found == full_at_.end() ? now : std::max(found->second, now);
  if (full_at + interval_ > now + depth_) return false;
  if (found != full_at_.end()) {
    found->second = full_at + interval_;
    return true;
  }
  if (full_at_.size() >= kMaxGroups) Forget(now);
  full_at_.emplace(group, full_at + interval_);
  return true;
}

void ConnectionRate::Forget(Time now) {
  for (auto entry = full_at_.begin(); entry != full_at_.end();) {
    if (entry->second <= now) {
      full_at_.erase(entry++);
    } else {
      ++entry;
    }
  }
  // With so many groups, forget all: searching them each time takes long.
  if (full_at_.size() > kMaxGroups / 2) full_at_.clear();
}

}  // namespace token_sampler
