// Cuts the bytes of one direction of an HTTP/2 connection into frames.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_READER_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_READER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace token_sampler {

// RFC 9113, section 6.
enum class FrameType : uint8_t {
  kData = 0x0,
  kHeaders = 0x1,
  kReset = 0x3,
  kSettings = 0x4,
  kPing = 0x6,
  kGoaway = 0x7,
  kWindowUpdate = 0x8,
  kContinuation = 0x9,
};

struct FrameHeader {
  static constexpr uint8_t kEndStreamOrAck = 0x1;
  static constexpr uint8_t kEndHeaders = 0x4;
  static constexpr uint8_t kPadded = 0x8;

  bool Has(uint8_t flag) const { return (flags & flag) != 0; }

  FrameType type = FrameType::kData;  // or any number that the peer has chosen
  uint8_t flags = 0;
  uint32_t stream = 0;
  uint32_t length = 0;  // of the payload, in bytes
};

// Not thread-safe.
class FrameReader {
 public:
  struct Piece {
    bool begins = false;  // the header has just been read
    bool ends = false;    // the frame is complete
    // The payload as it came; for SETTINGS and WINDOW_UPDATE one whole entry, of 6 and 4 bytes.
    absl::Span<const uint8_t> payload;
  };

  // Removes some bytes from the front of `bytes`, which must not be empty, and returns the piece of
  // a frame that they are. The payload is valid until the next call. While a header or an entry is
  // incomplete, the piece is empty.
  Piece Next(absl::Span<const uint8_t>& bytes);

  // The header of the frame that began last.
  const FrameHeader& header() const { return header_; }

  // True inside a frame: it has begun and is incomplete.
  bool inside() const { return matched_ > 0 || in_payload_; }

 private:
  size_t EntryBytes() const;
  // Begins a frame of which only the header has been read.
  void Begin(const FrameHeader& header, Piece& piece);

  FrameHeader header_;
  bool in_payload_ = false;
  uint32_t left_ = 0;                 // of the payload
  size_t matched_ = 0;                // bytes of `part_`
  std::array<uint8_t, 9> part_ = {};  // of a header or an entry
};

// Reads a number in network byte order.
uint32_t ReadNumber(absl::Span<const uint8_t> bytes);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_FRAME_READER_H_
