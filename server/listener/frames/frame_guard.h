// Reads what a connection receives, and detects attacks on HTTP/2 itself.
//
// gRPC 1.51 accepts streams that are reset as soon as they begin, headers in endless pieces,
// streams beyond its own limit until the peer acknowledges that limit, and messages whose prefix
// announces gigabytes. It also waits forever for a message or the rest of one, and for a peer that
// takes no answer. The guard counts frames by their headers, and follows messages by their prefixes
// without reading their content.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_GUARD_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_GUARD_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/listener/frames/flow_watch.h"
#include "server/listener/frames/frame_reader.h"

namespace token_sampler {

// Counts the bytes that all connections have received of incomplete messages. Thread-safe.
struct Receipt {
  explicit Receipt(uint64_t most) : max_bytes(most) {}

  const uint64_t max_bytes;  // beyond this, connections with at least the average are closed
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> connections{0};  // that have some of these bytes
};

// Limits that no well-meaning client comes near.
struct FrameLimits {
  uint64_t max_header_bytes = uint64_t{1} << 20;   // of one call, as sent
  uint64_t max_message_bytes = uint64_t{1} << 29;  // that a prefix may announce
  // Streams that may begin before this server's settings are acknowledged.
  uint64_t max_early_streams = 256;
  // Per second: streams reset, for example by deadlines that pass; streams reset as soon as they
  // began; and frames that carry nothing, including window updates for which no answer was sent or
  // which let answers pass only in tiny pieces.
  uint64_t max_resets = 2000;
  uint64_t max_hasty_resets = 100;
  uint64_t max_idle_frames = 1000;
  uint64_t max_goaways = 8;  // in all; a client that ends sends one or two
  // How long headers, a frame, a message or an answer may stand still after it has begun, and how
  // long a call may go without a message. A server that is willing to wait for a message begins its
  // answer.
  std::chrono::milliseconds patience{60'000};
  // How long a connection may have no call. gRPC's own limit would make each call slower.
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

  // Takes the bytes received next, at `now`. Returns "", or what is wrong: then the connection must
  // be closed, and Take() must not be called again. Leaves anything that is not HTTP/2 to gRPC.
  absl::string_view Take(absl::Span<const uint8_t> bytes, Time now);

  // Takes the bytes sent next.
  void Sent(absl::Span<const uint8_t> bytes, Time now);
  void SocketTook(uint64_t bytes, bool all, Time now) { flow_.SocketTook(bytes, all, now); }

  // Returns "", or what the peer has left standing for longer than `patience`: then the connection
  // must be closed. Call it several times in that time. A slow peer is safe: 16 KiB in the time are
  // enough, and waiting for a window that this side must give does not count.
  absl::string_view Look(Time now);

  // True when there has been no call for `max_idle`: then the connection may be closed. Call it as
  // often as Look().
  bool IsIdle(Time now);

  // The last stream that the peer has begun, or 0.
  uint32_t last_stream() const { return last_stream_; }

  // The connection is over: what it received no longer counts, and later bytes are ignored.
  void End();

 private:
  enum class State { kPreface, kFrames, kForeign };

  void TakePreface(absl::Span<const uint8_t>& bytes);
  absl::string_view TakePiece(const FrameReader::Piece& piece, Time now);
  absl::string_view TakeHeader(Time now);
  absl::string_view TakeHeaders(uint64_t bytes);
  void ExpectUpdates(uint64_t count);
  absl::string_view TakeData(absl::Span<const uint8_t> bytes, Time now);
  // Counts events. Exceeds() counts one, and is true when there were more than `max` in the current
  // second.
  struct Rate {
    Time since;
    uint64_t count = 0;
    bool Exceeds(uint64_t max, Time now);
  };

  // Counts `now` bytes of incomplete messages instead of `before`.
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
  Progress frame_;           // of the incomplete frame
  bool in_headers_ = false;  // a header block is incomplete;
  Time headers_since_;       // it began then

  uint64_t header_bytes_ = 0;  // of the current header block
  uint64_t header_frames_ = 0;
  uint64_t early_streams_ = 0;
  uint32_t last_stream_ = 0;
  uint32_t settled_stream_ = 0;  // the last that began before the current Take()
  bool acknowledged_ = false;
  uint32_t looked_stream_ = 0;  // last_stream_ at the last IsIdle()
  Time idle_since_ = Time::min();
  Rate resets_;
  Rate hasty_resets_;
  Rate idle_;
  absl::string_view wrong_;        // how the peer fetches answers, if wrong
  uint64_t expected_updates_ = 0;  // window updates due for what was sent
  uint64_t goaways_ = 0;
  // Open streams that have neither begun a message nor an answer, and since when.
  absl::flat_hash_map<uint32_t, Time> silent_;
  // Open streams whose message is incomplete.
  absl::flat_hash_map<uint32_t, Message> messages_;
  uint64_t incomplete_bytes_ = 0;  // of messages_, received
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_GUARD_H_
