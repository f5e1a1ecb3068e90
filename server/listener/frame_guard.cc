#include "server/listener/frame_guard.h"

#include <algorithm>

namespace token_sampler {
namespace {

constexpr absl::string_view kPrefaceText = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113, section 6.
constexpr uint8_t kData = 0x0;
constexpr uint8_t kHeaders = 0x1;
constexpr uint8_t kReset = 0x3;
constexpr uint8_t kSettings = 0x4;
constexpr uint8_t kGoaway = 0x7;
constexpr uint8_t kWindowUpdate = 0x8;
constexpr uint8_t kContinuation = 0x9;
constexpr uint8_t kPing = 0x6;
constexpr uint8_t kEndStreamOrAck = 0x1;
constexpr uint8_t kEndHeaders = 0x4;
constexpr uint8_t kPadded = 0x8;

// A byte that says whether the message is compressed, and its length in four.
constexpr uint8_t kPrefixBytes = 5;

// A header block comes in frames as large as may be (16 KiB) but for its last, or is small.
constexpr uint64_t kFreeHeaderFrames = 8;
constexpr uint64_t kMinHeaderFrameBytes = 1024;

// As many calls may be open at once.
constexpr size_t kMaxMessages = 1024;

}  // namespace

bool FrameGuard::Rate::Exceeds(uint64_t max, Time now) {
  if (now - since >= std::chrono::seconds(1)) {
    since = now;
    count = 0;
  }
  return ++count > max;
}

absl::string_view FrameGuard::Take(absl::Span<const uint8_t> bytes, Time now) {
  absl::string_view wrong;
  settled_stream_ = last_stream_;
  while (!bytes.empty() && wrong.empty()) {
    switch (state_) {
      case State::kForeign:
        return wrong;
      case State::kPreface:
        if (static_cast<char>(bytes[0]) != kPrefaceText[matched_]) {
          state_ = State::kForeign;
          return wrong;
        }
        bytes.remove_prefix(1);
        if (++matched_ < kPrefaceText.size()) break;
        matched_ = 0;
        state_ = State::kHeader;
        break;
      case State::kHeader: {
        const size_t count = std::min(bytes.size(), header_.size() - matched_);
        std::copy_n(bytes.begin(), count, header_.begin() + matched_);
        bytes.remove_prefix(count);
        matched_ += count;
        if (matched_ < header_.size()) break;
        matched_ = 0;
        wrong = TakeHeader(now);
        state_ = left_ > 0 ? State::kPayload : State::kHeader;
        break;
      }
      case State::kPayload: {
        const size_t count = static_cast<size_t>(std::min<uint64_t>(bytes.size(), left_));
        if (type_ == kData && !padded_) wrong = TakeData(bytes.subspan(0, count));
        bytes.remove_prefix(count);
        left_ -= count;
        if (left_ == 0) state_ = State::kHeader;
        break;
      }
    }
  }
  return wrong;
}

absl::string_view FrameGuard::TakeHeader(Time now) {
  left_ = uint64_t{header_[0]} << 16 | uint64_t{header_[1]} << 8 | header_[2];
  type_ = header_[3];
  flags_ = header_[4];
  stream_ = (uint32_t{header_[5]} << 24 | uint32_t{header_[6]} << 16 | uint32_t{header_[7]} << 8 |
             header_[8]) &
            0x7fffffffu;
  const bool end_or_ack = (flags_ & kEndStreamOrAck) != 0;
  bool idle = false;
  switch (type_) {
    case kData:
      padded_ = (flags_ & kPadded) != 0;
      idle = left_ == 0 && !end_or_ack;
      break;
    case kHeaders:
      if (stream_ > last_stream_) {
        last_stream_ = stream_;
        if (!acknowledged_ && ++early_streams_ > limits_.max_early_streams) {
          return "streams without end before the settings are acknowledged";
        }
      }
      header_bytes_ = header_frames_ = 0;
      return TakeHeaders(left_);
    case kContinuation:
      return TakeHeaders(left_);
    case kReset:
      Forget(stream_);
      if (resets_.Exceeds(limits_.max_resets, now) ||
          (stream_ > settled_stream_ && hasty_resets_.Exceeds(limits_.max_hasty_resets, now))) {
        return "streams are reset too often";
      }
      break;
    case kSettings:
      if (end_or_ack) acknowledged_ = true;
      idle = !end_or_ack;
      break;
    case kPing:
      idle = !end_or_ack;
      break;
    case kGoaway:
    case kWindowUpdate:
      break;
    default:  // priorities, and what HTTP/2 does not know
      idle = true;
      break;
  }
  if (idle && idle_.Exceeds(limits_.max_idle_frames, now)) return "too many frames carry nothing";
  return {};
}

absl::string_view FrameGuard::TakeHeaders(uint64_t bytes) {
  header_bytes_ += bytes;
  ++header_frames_;
  if (header_bytes_ > limits_.max_header_bytes) return "headers without end";
  const bool many = header_frames_ > kFreeHeaderFrames + header_bytes_ / kMinHeaderFrameBytes;
  if (many && (flags_ & kEndHeaders) == 0) return "headers in too many pieces";
  return {};
}

absl::string_view FrameGuard::TakeData(absl::Span<const uint8_t> bytes) {
  if (stream_ < unknown_below_) return {};
  const auto found = messages_.find(stream_);
  Message message = found == messages_.end() ? Message{} : found->second;
  const uint64_t before = message.received();
  while (!bytes.empty()) {
    if (message.prefix_bytes < kPrefixBytes) {
      if (message.prefix_bytes > 0) message.length = message.length << 8 | bytes[0];
      bytes.remove_prefix(1);
      if (++message.prefix_bytes < kPrefixBytes) continue;
      if (message.length > limits_.max_message_bytes) {
        return "a message is announced that is far too large";
      }
      message.missing = message.length;
    }
    const size_t count = static_cast<size_t>(std::min<uint64_t>(bytes.size(), message.missing));
    bytes.remove_prefix(count);
    message.missing -= count;
    if (message.missing == 0) message = {};
  }
  Count(before, message.received());
  if (message.received() > before && HasTooMuch()) {
    return "too much is received of messages that are not complete";
  }
  if (message.prefix_bytes > 0) {
    messages_[stream_] = message;
  } else if (found != messages_.end()) {
    messages_.erase(found);
  }
  if (messages_.size() > kMaxMessages) {
    // These may be of calls that have ended meanwhile; only gRPC knows which.
    unknown_below_ = messages_.begin()->first + 1;
    Forget(messages_.begin()->first);
  }
  return {};
}

void FrameGuard::Count(uint64_t before, uint64_t now) {
  if (limits_.receipt == nullptr || now == before) return;
  Receipt& receipt = *limits_.receipt;
  const bool had_any = incomplete_bytes_ > 0;
  incomplete_bytes_ += now - before;  // modulo 2^64, as below
  receipt.bytes += now - before;
  const bool has_any = incomplete_bytes_ > 0;
  if (has_any != had_any) receipt.connections += has_any ? 1 : uint64_t{0} - 1;
}

bool FrameGuard::HasTooMuch() const {
  if (limits_.receipt == nullptr) return false;
  const Receipt& receipt = *limits_.receipt;
  const uint64_t bytes = receipt.bytes;
  // Those with as much as the average go, so that small messages always pass.
  return bytes > receipt.max_bytes && incomplete_bytes_ * receipt.connections >= bytes;
}

void FrameGuard::Forget(uint32_t stream) {
  const auto found = messages_.find(stream);
  if (found == messages_.end()) return;
  Count(found->second.received(), 0);
  messages_.erase(found);
}

void FrameGuard::End() {
  Count(incomplete_bytes_, 0);
  messages_.clear();
  state_ = State::kForeign;
}

}  // namespace token_sampler
