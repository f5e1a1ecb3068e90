#include "server/listener/frame_reader.h"

#include <algorithm>

namespace token_sampler {
namespace {

constexpr size_t kHeaderBytes = 9;
constexpr size_t kSettingBytes = 6;
constexpr size_t kIncrementBytes = 4;

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
  header_ = {.type = FrameType{part[3]},
             .flags = part[4],
             .stream = ReadNumber(part.subspan(5)) & 0x7fffffffu,
             .length = ReadNumber(part.subspan(0, 3))};
  left_ = header_.length;
  in_payload_ = left_ > 0;
  piece.begins = true;
  piece.ends = !in_payload_;
  return piece;
}

}  // namespace token_sampler
