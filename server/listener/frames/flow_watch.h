// Follows the flow-control windows of a connection and its streams, and finds out who keeps whom
// waiting.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FLOW_WATCH_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FLOW_WATCH_H_

#include <chrono>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/listener/frames/frame_reader.h"

namespace token_sampler {

using SteadyTime = std::chrono::steady_clock::time_point;

// The time since which something has not made progress. A byte now and then does not count as
// progress; 16 KiB do, which a line of 1 Mbit/s carries in 0.13 s.
class Progress {
 public:
  void Restart(SteadyTime now) {
    since_ = now;
    bytes_ = 0;
  }
  void Add(uint64_t bytes, SteadyTime now) {
    bytes_ += bytes;
    if (bytes_ >= kEnough) Restart(now);
  }
  SteadyTime since() const { return since_; }

 private:
  static constexpr uint64_t kEnough = uint64_t{16} << 10;

  SteadyTime since_;
  uint64_t bytes_ = 0;
};

// Something that can hold answers back: the window of a stream, the window of the connection, or
// the socket.
struct FlowGate {
  bool closed = false;
  SteadyTime changed;  // when `closed` last changed
  Progress passed;
  int64_t credit = 0;  // of a window: bytes that may pass, beyond the initial size

  bool IsOpenSince(SteadyTime time) const { return !closed && changed <= time; }
  bool IsStuckSince(SteadyTime time) const { return closed && passed.since() < time; }
};

// The windows (RFC 9113, section 5.2) and the socket of one connection. Not thread-safe.
class FlowWatch {
 public:
  // Takes a received piece of a frame with this header. If too many streams seem open, gives up the
  // oldest and returns its number, otherwise 0: gRPC has ended that one in a way that cannot be
  // seen.
  uint32_t Received(const FrameHeader& header, const FrameReader::Piece& piece, SteadyTime now);
  // Takes a sent piece of a frame. Returns true for a DATA frame that the peer's windows forced to
  // be tiny: it used up a window, less than 1 KiB of answers was sent since a window was used up
  // before, and there were more such frames than the few allowed for each answer.
  bool Sent(const FrameHeader& header, const FrameReader::Piece& piece, SteadyTime now);

  // The socket has taken `bytes` of the bytes to send; `all` if none are left.
  void SocketTook(uint64_t bytes, bool all, SteadyTime now);

  // True for a stream that the peer has begun, and that has neither ended nor been given up.
  bool IsOpen(uint32_t stream) const;

  // True when any stream is open.
  bool HasOpen() const { return !streams_.empty(); }

  // True when the peer's windows let it send more on the stream now.
  bool MaySend(uint32_t stream) const;

  // True when the peer has taken nothing since `since` while answers wait: it does not read, or
  // leaves no window for an answer that has begun.
  bool LeavesWaiting(SteadyTime since, SteadyTime now);

 private:
  struct Stream {
    bool answered = false;  // its answer has begun
    FlowGate answer;
    int64_t credit = 0;        // bytes that the peer may send, beyond the initial window
    uint8_t prefix_bytes = 0;  // sent, of the five before a message of the answer
    uint32_t missing = 0;      // bytes of that message not yet sent
  };

  Stream* Find(uint32_t number);
  void SetClosed(FlowGate& gate, bool closed, SteadyTime now);
  void SetWindow(Stream& stream, SteadyTime now);
  bool SentData(uint32_t number, uint32_t bytes, SteadyTime now);
  void CountAnswers(uint32_t number, absl::Span<const uint8_t> bytes);

  int64_t initial_to_send_ = 65535;
  int64_t initial_to_receive_ = 65535;
  FlowGate socket_;
  FlowGate connection_;
  int64_t connection_to_receive_ = 65535;
  uint64_t sent_since_closed_ = 0;  // bytes of DATA since a window was used up
  uint64_t tiny_frames_ = 0;        // still allowed for the answers sent so far
  uint32_t last_ = 0;
  absl::flat_hash_map<uint32_t, Stream> streams_;  // not reset, given up or fully answered
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FLOW_WATCH_H_
