// Follows the windows of a connection's streams and tells who keeps whom waiting.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FLOW_WATCH_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FLOW_WATCH_H_

#include <chrono>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/listener/frame_reader.h"

namespace token_sampler {

using SteadyTime = std::chrono::steady_clock::time_point;

// Since when something has not got on. A byte now and then is no progress: 16 KiB are, which are
// 0.13 s of a line of 1 Mbit/s.
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

// Holds answers back on their way: the window of a stream, that of the connection, the socket.
struct FlowGate {
  bool closed = false;
  SteadyTime changed;  // `closed`
  Progress passed;
  int64_t credit = 0;  // of a window: bytes that may pass, beyond the initial ones

  bool IsOpenSince(SteadyTime time) const { return !closed && changed <= time; }
  bool IsStuckSince(SteadyTime time) const { return closed && passed.since() < time; }
};

// The windows of one connection as RFC 9113 has them, section 5.2, and its socket. Not thread-safe.
class FlowWatch {
 public:
  // Take the pieces of what was received and what was sent, of frames with this header. The first
  // returns a stream that is given up, or 0: of too many, the oldest, which gRPC has ended in a way
  // that cannot be seen.
  uint32_t Received(const FrameHeader& header, const FrameReader::Piece& piece, SteadyTime now);
  // The second returns true for a DATA frame that the peer has made tiny: it used up a window, not
  // 1 KiB of answers has gone since the last that did, and each answer has had some such frames.
  bool Sent(const FrameHeader& header, const FrameReader::Piece& piece, SteadyTime now);

  // The socket has taken so many of the bytes that were to be sent, all of them or not.
  void SocketTook(uint64_t bytes, bool all, SteadyTime now);

  // True for a stream that the peer has begun, and that has neither ended nor been given up.
  bool IsOpen(uint32_t stream) const;

  // True when there is such a stream.
  bool HasOpen() const { return !streams_.empty(); }

  // True when the peer may send more of a stream now.
  bool MaySend(uint32_t stream) const;

  // True when the peer has taken nothing since then of what waits to be sent: it does not read, or
  // leaves no window for an answer that has begun.
  bool LeavesWaiting(SteadyTime since, SteadyTime now);

 private:
  struct Stream {
    bool answered = false;  // its answer has begun
    FlowGate answer;
    int64_t credit = 0;        // bytes that may be received, beyond the initial window
    uint8_t prefix_bytes = 0;  // sent of the five before a message of the answer
    uint32_t missing = 0;      // bytes of that message that are not sent
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
  uint64_t tiny_frames_ = 0;        // that may still go for the answers that have gone
  uint32_t last_ = 0;
  absl::flat_hash_map<uint32_t, Stream> streams_;  // that neither side has ended
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FLOW_WATCH_H_
