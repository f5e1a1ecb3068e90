#include "server/listener/frames/frame_reader.h"

#include <algorithm>

namespace token_sampler {
namespace {

constexpr size_t kHeaderBytes = 9;
constexpr size_t kSettingBytes = 6;
constexpr size_t kIncrementBytes = 4;

// Reads a header from kHeaderBytes bytes.
FrameHeader ReadHeader(const uint8_t* bytes) {
  const auto number = [bytes](int begin, int end) {
    uint32_t value = 0;
    for (int i = begin; i < end; ++i) value = value << 8 | bytes[i];
    return value;
  };
  return {.type = FrameType{bytes[3]},
          .flags = bytes[4],
          .stream = number(5, 9) & 0x7fffffffu,
          .length = number(0, 3)};
}

}  // namespace

uint32_t ReadNumber(absl::Span<const uint8_t> bytes) {
  uint32_t number = 0;
  for (const uint8_t byte : bytes) number = number << 8 | byte;
  return number;
}

size_t FrameReader::EntryBytes() const {
  switch (header_.type) {
    case FrameType::kSettings:
      return kSettingBytes;
    case FrameType::kWindowUpdate:
      return kIncrementBytes;
    default:
      return 0;
  }
}

FrameReader::Piece FrameReader::Next(absl::Span<const uint8_t>& bytes) {
  Piece piece;
  if (!inside() && bytes.size() >= kHeaderBytes) {
    // Nearly every header comes in one piece.
    Begin(ReadHeader(bytes.data()), piece);
    bytes.remove_prefix(kHeaderBytes);
    return piece;
  }
  const size_t wanted = in_payload_ ? EntryBytes() : kHeaderBytes;
  const size_t most = wanted > 0 ? wanted - matched_ : bytes.size();
  const size_t count =
      in_payload_ ? std::min<size_t>({most, bytes.size(), left_}) : std::min(most, bytes.size());
  const absl::Span<const uint8_t> taken = bytes.subspan(0, count);
  bytes.remove_prefix(count);
  if (in_payload_) {
    left_ -= static_cast<uint32_t>(count);
    piece.ends = left_ == 0;
    in_payload_ = !piece.ends;
  }
  if (wanted == 0) {
    piece.payload = taken;
    return piece;
  }
  std::copy(taken.begin(), taken.end(), part_.begin() + static_cast<std::ptrdiff_t>(matched_));
  matched_ += count;
  const bool complete = matched_ == wanted;
  if (complete || piece.ends) matched_ = 0;
  if (!complete) return piece;
  const absl::Span<const uint8_t> part(part_.data(), wanted);
  if (wanted != kHeaderBytes) {
    piece.payload = part;
    return piece;
  }
  Begin(ReadHeader(part.data()), piece);
  return piece;
}

void FrameReader::Begin(const FrameHeader& header, Piece& piece) {
  header_ = header;
  left_ = header_.length;
  in_payload_ = left_ > 0;
  piece.begins = true;
  piece.ends = !in_payload_;
}

}  // namespace token_sampler
