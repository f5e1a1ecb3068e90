#include "server/listener/frames/flow_watch.h"

#include <algorithm>

namespace token_sampler {
namespace {

// The window of the connection itself, which SETTINGS do not change.
constexpr int64_t kConnectionWindow = 65535;
constexpr uint32_t kInitialWindowSize = 4;  // the setting of this name
// Enough for the calls that may be open at once, and for some whose end the peer has not seen.
constexpr size_t kMaxStreams = 2048;
// If all gates have been open for this long, whatever could be sent has been sent.
constexpr std::chrono::seconds kIdle{1};
// A window that lets this many bytes pass is worth the frame that they take.
constexpr uint64_t kEnoughAtOnce = 1024;
// A gRPC client that is slower than small answers arrive returns a used-up window one answer at a
// time, and some clients fetch each answer's prefix before the rest.
constexpr uint64_t kTinyFramesPerAnswer = 4;
constexpr uint64_t kMaxTinyFrames = 4096;
// The prefix of a message: a byte for compression, and the length in four bytes.
constexpr uint8_t kPrefixBytes = 5;

bool IsInitialWindow(const FrameHeader& header, absl::Span<const uint8_t> entry) {
  return header.type == FrameType::kSettings && entry.size() == 6 &&
         ReadNumber(entry.subspan(0, 2)) == kInitialWindowSize;
}

}  // namespace

void FlowWatch::SetClosed(FlowGate& gate, bool closed, SteadyTime now) {
  if (closed == gate.closed) return;
  const SteadyTime idle_since = now - kIdle;
  const bool idle = gate.IsOpenSince(idle_since) && connection_.IsOpenSince(idle_since) &&
                    socket_.IsOpenSince(idle_since);
  // Nothing has waited until now. A gate that opens only for a byte is not idle for that long.
  if (closed && idle) gate.passed.Restart(now);
  gate.closed = closed;
  gate.changed = now;
}

void FlowWatch::SetWindow(Stream& stream, SteadyTime now) {
  SetClosed(stream.answer, initial_to_send_ + stream.answer.credit <= 0, now);
}

FlowWatch::Stream* FlowWatch::Find(uint32_t number) {
  const auto found = streams_.find(number);
  return found == streams_.end() ? nullptr : &found->second;
}

uint32_t FlowWatch::Received(const FrameHeader& header, const FrameReader::Piece& piece,
                             SteadyTime now) {
  switch (header.type) {
    case FrameType::kHeaders:
      if (!piece.begins || header.stream <= last_) return 0;
      last_ = header.stream;
      streams_.try_emplace(header.stream);
      if (streams_.size() > kMaxStreams) {
        const auto oldest =
            std::min_element(streams_.begin(), streams_.end(),
                             [](const auto& a, const auto& b) { return a.first < b.first; });
        const uint32_t number = oldest->first;
        streams_.erase(oldest);
        return number;
      }
      return 0;
    case FrameType::kData:
      if (!piece.begins) return 0;
      connection_to_receive_ -= header.length;
      if (Stream* const stream = Find(header.stream)) stream->credit -= header.length;
      return 0;
    case FrameType::kReset:
      if (piece.begins) streams_.erase(header.stream);
      return 0;
    case FrameType::kSettings:
      if (IsInitialWindow(header, piece.payload)) {
        initial_to_send_ = ReadNumber(piece.payload.subspan(2));
      }
      return 0;
    case FrameType::kWindowUpdate: {
      if (piece.payload.empty()) return 0;
      const uint32_t credit = ReadNumber(piece.payload);
      if (header.stream == 0) {
        connection_.credit += credit;
        SetClosed(connection_, kConnectionWindow + connection_.credit <= 0, now);
      } else if (Stream* const stream = Find(header.stream)) {
        stream->answer.credit += credit;
        SetWindow(*stream, now);
      }
      return 0;
    }
    default:
      return 0;
  }
}

bool FlowWatch::Sent(const FrameHeader& header, const FrameReader::Piece& piece, SteadyTime now) {
  switch (header.type) {
    case FrameType::kHeaders: {
      if (!piece.begins) return false;
      if (header.Has(FrameHeader::kEndStreamOrAck)) {
        streams_.erase(header.stream);
        return false;
      }
      Stream* const stream = Find(header.stream);
      if (stream == nullptr) return false;
      if (!stream->answered) stream->answer.passed.Restart(now);
      stream->answered = true;
      SetWindow(*stream, now);
      return false;
    }
    case FrameType::kData:
      if (piece.begins) return SentData(header.stream, header.length, now);
      CountAnswers(header.stream, piece.payload);
      return false;
    case FrameType::kReset:
      if (piece.begins) streams_.erase(header.stream);
      return false;
    case FrameType::kSettings:
      if (IsInitialWindow(header, piece.payload)) {
        initial_to_receive_ = ReadNumber(piece.payload.subspan(2));
      }
      return false;
    case FrameType::kWindowUpdate:
      if (piece.payload.empty()) return false;
      if (header.stream == 0) {
        connection_to_receive_ += ReadNumber(piece.payload);
      } else if (Stream* const stream = Find(header.stream)) {
        stream->credit += ReadNumber(piece.payload);
      }
      return false;
    default:
      return false;
  }
}

bool FlowWatch::SentData(uint32_t number, uint32_t bytes, SteadyTime now) {
  Stream* const stream = Find(number);
  if (stream != nullptr) {
    stream->answer.credit -= bytes;
    stream->answer.passed.Add(bytes, now);
    SetWindow(*stream, now);
  }
  connection_.credit -= bytes;
  connection_.passed.Add(bytes, now);
  SetClosed(connection_, kConnectionWindow + connection_.credit <= 0, now);
  sent_since_closed_ += bytes;
  const bool used_up = connection_.closed || (stream != nullptr && stream->answer.closed);
  if (!used_up) return false;
  const bool tiny = sent_since_closed_ < kEnoughAtOnce;
  sent_since_closed_ = 0;
  if (!tiny || tiny_frames_ == 0) return tiny;
  --tiny_frames_;
  return false;
}

void FlowWatch::CountAnswers(uint32_t number, absl::Span<const uint8_t> bytes) {
  Stream* const stream = Find(number);
  if (stream == nullptr) return;
  while (!bytes.empty()) {
    if (stream->prefix_bytes < kPrefixBytes) {
      // The first byte, the flag, is shifted out.
      stream->missing = stream->missing << 8 | bytes[0];
      bytes.remove_prefix(1);
      if (++stream->prefix_bytes < kPrefixBytes) continue;
    }
    const size_t count = std::min<size_t>(bytes.size(), stream->missing);
    bytes.remove_prefix(count);
    stream->missing -= static_cast<uint32_t>(count);
    if (stream->missing > 0) continue;
    stream->prefix_bytes = 0;
    tiny_frames_ = std::min(tiny_frames_ + kTinyFramesPerAnswer, kMaxTinyFrames);
  }
}

void FlowWatch::SocketTook(uint64_t bytes, bool all, SteadyTime now) {
  socket_.passed.Add(bytes, now);
  SetClosed(socket_, !all, now);
}

bool FlowWatch::IsOpen(uint32_t stream) const { return streams_.contains(stream); }

bool FlowWatch::MaySend(uint32_t stream) const {
  const auto found = streams_.find(stream);
  return connection_to_receive_ > 0 && found != streams_.end() &&
         initial_to_receive_ + found->second.credit > 0;
}

bool FlowWatch::LeavesWaiting(SteadyTime since, SteadyTime now) {
  if (socket_.IsStuckSince(since)) return true;
  bool any_answered = false;
  for (auto& [number, stream] : streams_) {
    if (!stream.answered) continue;
    any_answered = true;
    SetWindow(stream, now);  // the peer's settings may have changed it
    if (stream.answer.IsStuckSince(since)) return true;
  }
  return any_answered && connection_.IsStuckSince(since);
}

}  // namespace token_sampler
