#include "server/logging/log_limit.h"

#include <utility>

namespace token_sampler {
namespace {

constexpr size_t kReasonBytes = 40;
// The most reasons to remember. Beyond it all are forgotten: lines that all begin differently do
// not repeat themselves.
constexpr size_t kMaxReasons = 1024;

std::string ReasonOf(absl::string_view message) {
  std::string reason;
  for (const char character : message.substr(0, kReasonBytes)) {
    if (character < '0' || character > '9') reason.push_back(character);
  }
  return reason;
}

}  // namespace

LogLimit::Verdict LogLimit::Check(absl::string_view message, TimePoint now) {
  if (reasons_.size() > kMaxReasons) reasons_.clear();
  Reason& reason = reasons_[ReasonOf(message)];
  if (now - reason.since >= std::chrono::seconds(1) || now < reason.since) {
    reason.since = now;
    reason.lines = 0;
  }
  if (++reason.lines > max_lines_) {
    ++reason.left_out;
    return {.take = false, .left_out = 0};
  }
  return {.take = true, .left_out = std::exchange(reason.left_out, 0)};
}

}  // namespace token_sampler
