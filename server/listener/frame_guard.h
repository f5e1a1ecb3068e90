// Reads along what a connection receives and says when it is an attack on HTTP/2 itself.
//
// gRPC 1.51 takes what it is sent: streams that are reset as soon as they begin, headers in pieces
// without end, streams beyond its own limit as long as nobody acknowledges that, and messages whose
// prefix announces gigabytes. Here frames are counted by their headers; what they carry is skipped.
// It also waits for ever: for a message or the rest of it, and for a peer that takes no answer.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FRAME_GUARD_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FRAME_GUARD_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/listener/flow_watch.h"
#include "server/listener/frame_reader.h"

namespace token_sampler {

// Counts what all connections have received of messages that are not complete. Thread-safe.
struct Receipt {
  explicit Receipt(uint64_t most) : max_bytes(most) {}

  const uint64_t max_bytes;  // beyond, connections that have more than others are closed
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> connections{0};  // that have any
};

// Limits that no client comes near to that means well.
struct FrameLimits {
  uint64_t max_header_bytes = uint64_t{1} << 20;   // of one call, as they are sent
  uint64_t max_message_bytes = uint64_t{1} << 29;  // that a prefix may announce
  // Streams that may begin before this server's settings are acknowledged.
  uint64_t max_early_streams = 256;
  // In a second: streams reset, as deadlines that pass do, those of them that were reset as soon as
  // they began, and frames that carry nothing: among them window updates for which no answer
  // was sent, and those that let answers go in tiny pieces.
  uint64_t max_resets = 2000;
  uint64_t max_hasty_resets = 100;
  uint64_t max_idle_frames = 1000;
  uint64_t max_goaways = 8;  // in all; a client that ends sends one or two
  // How long a header, a frame, a message or an answer that has begun may stand still, and how long
  // a call may be without a message. A server that waits for one willingly begins its answer.
  std::chrono::milliseconds patience{60'000};
  // How long a connection may have no call. gRPC's own limit would cost each call more.
  std::chrono::milliseconds max_idle{600'000};
  std::shared_ptr<Receipt> receipt;  // null: nobody counts
};

// Guards one connection. Not thread-safe.
class FrameGuard {
 public:
  using Time = SteadyTime;

  // A connection from its first byte.
  explicit FrameGuard(const FrameLimits& limits) : limits_(limits) {}
  ~FrameGuard() { End(); }
  FrameGuard(const FrameGuard&) = delete;
  FrameGuard& operator=(const FrameGuard&) = delete;

  // Takes what was received next, at `now`. Empty, or what is wrong with it; then the connection
  // must be closed, and nothing more is taken. Anything that is not HTTP/2 is left to gRPC.
  absl::string_view Take(absl::Span<const uint8_t> bytes, Time now);

  // Takes what was sent next: of `bytes` that were to be sent the first, or all.
  void Sent(absl::Span<const uint8_t> bytes, Time now);
  void SocketTook(uint64_t bytes, bool all, Time now) { flow_.SocketTook(bytes, all, now); }

  // Empty, or what the peer has kept waiting for longer than patience lasts; then the connection
  // must be closed. Call it several times in that time. A peer that gets on slowly is not meant:
  // 16 KiB in the time are enough, and so is waiting for a window that this side has to give.
  absl::string_view Look(Time now);

  // True when there has been no call for as long as may be; then the connection may be closed. Call
  // it as often as Look.
  bool IsIdle(Time now);

  // The last stream that the peer has begun, or 0.
  uint32_t last_stream() const { return last_stream_; }

  // The connection is over, and what it received counts no more. Nothing is looked into afterwards.
  void End();

 private:
  enum class State { kPreface, kFrames, kForeign };

  void TakePreface(absl::Span<const uint8_t>& bytes);
  absl::string_view TakePiece(const FrameReader::Piece& piece, Time now);
  absl::string_view TakeHeader(Time now);
  absl::string_view TakeHeaders(uint64_t bytes);
  void ExpectUpdates(uint64_t count);
  absl::string_view TakeData(absl::Span<const uint8_t> bytes, Time now);
  // Counts one event; true when there were more than `max` in the second that began last.
  struct Rate {
    Time since;
    uint64_t count = 0;
    bool Exceeds(uint64_t max, Time now);
  };

  // Counts `now` bytes of messages that are not complete instead of `before`.
  void Count(uint64_t before, uint64_t now);
  bool HasTooMuch() const;
  void Forget(uint32_t stream);

  // How far the message of a stream has come.
  struct Message {
    uint8_t prefix_bytes = 0;  // of the five before a message
    uint32_t length = 0;
    uint64_t missing = 0;
    Progress progress;

    uint64_t received() const { return prefix_bytes + length - missing; }
  };

  FrameLimits limits_;
  State state_ = State::kPreface;
  size_t matched_ = 0;  // bytes of the preface
  FrameReader received_;
  FrameReader sent_;
  FlowWatch flow_;
  Progress frame_;           // of the frame that is not complete
  bool in_headers_ = false;  // a header block is not complete,
  Time headers_since_;       // which began then

  uint64_t header_bytes_ = 0;  // of the header block that is not complete
  uint64_t header_frames_ = 0;
  uint64_t early_streams_ = 0;
  uint32_t last_stream_ = 0;
  uint32_t settled_stream_ = 0;  // began before what is being taken
  bool acknowledged_ = false;
  uint32_t looked_stream_ = 0;  // began last when IsIdle was called last
  Time idle_since_ = Time::min();
  Rate resets_;
  Rate hasty_resets_;
  Rate idle_;
  absl::string_view wrong_;        // with how the peer fetches answers
  uint64_t expected_updates_ = 0;  // of windows, for what has been sent
  uint64_t goaways_ = 0;
  // The open streams of which neither a message nor an answer has begun, and since when.
  absl::flat_hash_map<uint32_t, Time> silent_;
  // The open streams whose message is not complete.
  absl::flat_hash_map<uint32_t, Message> messages_;
  uint64_t incomplete_bytes_ = 0;  // what they have received
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FRAME_GUARD_H_
