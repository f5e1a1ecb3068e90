#include "server/listener/frames/frame_guard.h"

#include <algorithm>

namespace token_sampler {
namespace {

constexpr absl::string_view kPrefaceText = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// The prefix of a message: a byte for compression, and the length in four bytes.
constexpr uint8_t kPrefixBytes = 5;

// A small header block may come in this many frames of any size. A longer one comes in frames of
// the largest size (16 KiB), except the last; it needs this many bytes per frame.
constexpr uint64_t kFreeHeaderFrames = 8;
constexpr uint64_t kMinHeaderFrameBytes = 1024;

// A client that returns each piece of an answer as it reads it updates two windows, the stream's
// and the connection's, for each frame or for each 1 KiB of it.
constexpr uint64_t kUpdatesPerPiece = 2;
constexpr uint64_t kPieceBytes = 1024;
// The most updates that may be due: for 64 MiB of answers under way.
constexpr uint64_t kMaxExpectedUpdates = 131'072;

}  // namespace

bool FrameGuard::Rate::Exceeds(uint64_t max, Time now) {
  if (now - since >= std::chrono::seconds(1)) {
    since = now;
    count = 0;
  }
  return ++count > max;
}

absl::string_view FrameGuard::Take(absl::Span<const uint8_t> bytes, Time now) {
  settled_stream_ = last_stream_;
  if (state_ == State::kPreface) TakePreface(bytes);
  absl::string_view wrong = wrong_;
  while (state_ == State::kFrames && !bytes.empty() && wrong.empty()) {
    const bool inside = received_.inside();
    const size_t before = bytes.size();
    const FrameReader::Piece piece = received_.Next(bytes);
    if (inside) {
      frame_.Add(before - bytes.size(), now);
    } else {
      frame_.Restart(now);
    }
    if (const uint32_t given_up = flow_.Received(received_.header(), piece, now); given_up != 0) {
      Forget(given_up);
    }
    wrong = TakePiece(piece, now);
  }
  return wrong;
}

void FrameGuard::TakePreface(absl::Span<const uint8_t>& bytes) {
  while (state_ == State::kPreface && !bytes.empty()) {
    if (static_cast<char>(bytes[0]) != kPrefaceText[matched_]) {
      state_ = State::kForeign;
      return;
    }
    bytes.remove_prefix(1);
    if (++matched_ == kPrefaceText.size()) state_ = State::kFrames;
  }
}

absl::string_view FrameGuard::TakePiece(const FrameReader::Piece& piece, Time now) {
  const FrameHeader& header = received_.header();
  if (piece.begins) {
    if (const absl::string_view wrong = TakeHeader(now); !wrong.empty()) return wrong;
  } else if (header.type == FrameType::kData && !header.Has(FrameHeader::kPadded) &&
             flow_.IsOpen(header.stream)) {
    // Skip padded DATA, and DATA of streams that have ended, which nobody takes.
    if (const absl::string_view wrong = TakeData(piece.payload, now); !wrong.empty()) return wrong;
  }
  if (piece.ends && header.Has(FrameHeader::kEndHeaders) &&
      (header.type == FrameType::kHeaders || header.type == FrameType::kContinuation)) {
    in_headers_ = false;
  }
  return {};
}

void FrameGuard::Sent(absl::Span<const uint8_t> bytes, Time now) {
  while (state_ != State::kForeign && !bytes.empty()) {
    const FrameReader::Piece piece = sent_.Next(bytes);
    const FrameHeader& header = sent_.header();
    if (flow_.Sent(header, piece, now) && idle_.Exceeds(limits_.max_idle_frames, now)) {
      wrong_ = "reads answers in tiny pieces";
    }
    if (piece.begins && header.type == FrameType::kHeaders) silent_.erase(header.stream);
    if (piece.begins && header.type == FrameType::kData) {
      ExpectUpdates(kUpdatesPerPiece * (1 + header.length / kPieceBytes));
    }
    const bool ends_stream =
        header.type == FrameType::kReset ||
        (header.type == FrameType::kHeaders && header.Has(FrameHeader::kEndStreamOrAck));
    // gRPC then drops the received part of a message, and the peer need not send the rest.
    if (piece.begins && ends_stream) Forget(header.stream);
  }
}

absl::string_view FrameGuard::Look(Time now) {
  if (state_ != State::kFrames) return {};  // gRPC waits 10 s for the first frames
  const Time since = now - limits_.patience;
  if (in_headers_ && headers_since_ < since) return "headers have stalled";
  if (received_.inside() && frame_.since() < since) return "a frame has stalled";
  for (auto& [stream, message] : messages_) {
    if (!flow_.MaySend(stream)) {
      message.progress.Restart(now);
    } else if (message.progress.since() < since) {
      return "a message has stalled";
    }
  }
  for (auto& [stream, opened] : silent_) {
    if (!flow_.MaySend(stream)) {
      opened = now;
    } else if (opened < since) {
      return "a call has no message";
    }
  }
  return flow_.LeavesWaiting(since, now) ? "does not read answers" : absl::string_view();
}

bool FrameGuard::IsIdle(Time now) {
  if (state_ != State::kFrames) return false;
  const bool inside = received_.inside() || sent_.inside();
  const bool first = idle_since_ == Time::min();
  if (first || inside || flow_.HasOpen() || last_stream_ != looked_stream_) {
    looked_stream_ = last_stream_;
    idle_since_ = now;
  }
  return now - idle_since_ > limits_.max_idle;
}

absl::string_view FrameGuard::TakeHeader(Time now) {
  const FrameHeader& header = received_.header();
  const bool end_or_ack = header.Has(FrameHeader::kEndStreamOrAck);
  bool idle = false;
  switch (header.type) {
    case FrameType::kData:
      idle = header.length == 0 && !end_or_ack;
      // Padding only is no message.
      if (end_or_ack || (header.length > 0 && !header.Has(FrameHeader::kPadded))) {
        silent_.erase(header.stream);
      }
      break;
    case FrameType::kHeaders:
      if (header.stream > last_stream_) {
        last_stream_ = header.stream;
        ExpectUpdates(kUpdatesPerPiece);  // some clients widen a window as they begin
        if (!end_or_ack) silent_.try_emplace(header.stream, now);
        if (!acknowledged_ && ++early_streams_ > limits_.max_early_streams) {
          return "opens streams without end before it acknowledges the settings";
        }
      }
      header_bytes_ = header_frames_ = 0;
      in_headers_ = true;
      headers_since_ = now;
      return TakeHeaders(header.length);
    case FrameType::kContinuation:
      return TakeHeaders(header.length);
    case FrameType::kReset:
      Forget(header.stream);
      if (resets_.Exceeds(limits_.max_resets, now) ||
          (header.stream > settled_stream_ &&
           hasty_resets_.Exceeds(limits_.max_hasty_resets, now))) {
        return "resets streams too often";
      }
      break;
    case FrameType::kSettings:
      if (end_or_ack) acknowledged_ = true;
      idle = !end_or_ack;
      break;
    case FrameType::kPing:
      idle = !end_or_ack;
      break;
    case FrameType::kGoaway:
      if (++goaways_ > limits_.max_goaways) return "sends GOAWAY without end";
      break;
    case FrameType::kWindowUpdate:
      idle = expected_updates_ == 0;
      if (!idle) --expected_updates_;
      break;
    default:  // priorities and unknown types
      idle = true;
      break;
  }
  if (idle && idle_.Exceeds(limits_.max_idle_frames, now))
    return "sends too many frames that carry nothing";
  return {};
}

absl::string_view FrameGuard::TakeHeaders(uint64_t bytes) {
  header_bytes_ += bytes;
  ++header_frames_;
  if (header_bytes_ > limits_.max_header_bytes) return "sends headers without end";
  const bool many = header_frames_ > kFreeHeaderFrames + header_bytes_ / kMinHeaderFrameBytes;
  if (many && !received_.header().Has(FrameHeader::kEndHeaders))
    return "sends headers in too many pieces";
  return {};
}

absl::string_view FrameGuard::TakeData(absl::Span<const uint8_t> bytes, Time now) {
  const uint32_t stream = received_.header().stream;
  if (bytes.empty()) return {};
  const auto found = messages_.find(stream);
  Message message = found == messages_.end() ? Message{} : found->second;
  const uint64_t before = message.received();
  const size_t size = bytes.size();
  while (!bytes.empty()) {
    if (message.prefix_bytes < kPrefixBytes) {
      if (message.prefix_bytes > 0) message.length = message.length << 8 | bytes[0];
      bytes.remove_prefix(1);
      if (++message.prefix_bytes < kPrefixBytes) continue;
      if (message.length > limits_.max_message_bytes) {
        return "announces a message that is far too large";
      }
      message.missing = message.length;
    }
    const size_t count = static_cast<size_t>(std::min<uint64_t>(bytes.size(), message.missing));
    bytes.remove_prefix(count);
    message.missing -= count;
    if (message.missing == 0) message = {};
  }
  if (found == messages_.end() || message.received() < before + size) {
    message.progress.Restart(now);  // it has just begun
  } else {
    message.progress.Add(size, now);
  }
  Count(before, message.received());
  if (message.received() > before && HasTooMuch()) {
    return "holds too many bytes in incomplete messages";
  }
  if (message.prefix_bytes > 0) {
    messages_[stream] = message;
  } else if (found != messages_.end()) {
    messages_.erase(found);
  }
  return {};
}

void FrameGuard::ExpectUpdates(uint64_t count) {
  expected_updates_ = std::min(expected_updates_ + count, kMaxExpectedUpdates);
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
  // Connections with at least the average are closed, so that small messages always pass.
  return bytes > receipt.max_bytes && incomplete_bytes_ * receipt.connections >= bytes;
}

void FrameGuard::Forget(uint32_t stream) {
  silent_.erase(stream);
  const auto found = messages_.find(stream);
  if (found == messages_.end()) return;
  Count(found->second.received(), 0);
  messages_.erase(found);
}

void FrameGuard::End() {
  Count(incomplete_bytes_, 0);
  messages_.clear();
  silent_.clear();
  state_ = State::kForeign;
}

}  // namespace token_sampler
