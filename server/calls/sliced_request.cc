#include "server/calls/sliced_request.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "absl/types/span.h"

namespace token_sampler {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr uint32_t Tag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}

// CodedInputStream drops bits of a longer tag, whereas protobuf's parser refuses it.
constexpr int kMaxTagBytes = 5;

// Lets protobuf read from SlicedBytes.
class PieceStream final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  explicit PieceStream(const SlicedBytes& bytes) : bytes_(bytes) {}

  bool Next(const void** data, int* size) override {
    if (position_ == bytes_.size()) return false;
    const absl::string_view rest = bytes_.PieceFrom(position_);
    *data = rest.data();
    *size = static_cast<int>(rest.size());
    position_ += rest.size();
    return true;
  }

  void BackUp(int count) override { position_ -= static_cast<uint64_t>(count); }

  bool Skip(int count) override {
    const auto wanted = static_cast<uint64_t>(count);
    const bool enough = wanted <= bytes_.size() - position_;
    position_ = enough ? position_ + wanted : bytes_.size();
    return enough;
  }

  int64_t ByteCount() const override { return static_cast<int64_t>(position_); }

 private:
  const SlicedBytes& bytes_;
  uint64_t position_ = 0;
};

// The place of the tensor's data in the message.
struct DataPlace {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// Appends bytes [begin, end) of the message to `to`.
void Append(const SlicedBytes& message, int begin, int end, std::string& to) {
  const size_t size = to.size();
  const auto added = static_cast<size_t>(end - begin);
  to.resize(size + added);
  // Cannot fail, because the message is in memory.
  message.Read(static_cast<uint64_t>(begin), added, &to[size]).IgnoreError();
}

// Copies a message, but leaves the bytes field at `path` empty. `path` has the field number for
// each level of messages. Sets `data` to the place of the field's bytes, of the last one if it
// occurs repeatedly. Everything else is copied unchanged, so that protobuf's parser decides if it
// is valid.
bool CopyWithout(absl::Span<const int> path, const SlicedBytes& message, CodedInputStream& input,
                 std::string& rest, DataPlace& data) {
  int start = input.CurrentPosition();
  for (uint32_t tag = input.ReadTag(); tag != 0; tag = input.ReadTag()) {
    if (tag != Tag(path[0]) || input.CurrentPosition() - start > kMaxTagBytes) {
      if (!WireFormatLite::SkipField(&input, tag)) return false;
      Append(message, start, input.CurrentPosition(), rest);
      start = input.CurrentPosition();
      continue;
    }
    uint32_t size = 0;
    if (!input.ReadVarint32(&size) || size > uint32_t{std::numeric_limits<int32_t>::max()}) {
      return false;
    }
    std::string copied;
    if (path.size() == 1) {
      data = {static_cast<uint64_t>(input.CurrentPosition()), size};
      if (!input.Skip(static_cast<int>(size))) return false;
    } else {
      // PushLimit would reduce a limit beyond that of the outer message to the outer one.
      const int left = input.BytesUntilLimit();
      if (left >= 0 && size > static_cast<uint32_t>(left)) return false;
      const CodedInputStream::Limit limit = input.PushLimit(static_cast<int>(size));
      // If the limit is beyond the end of the message, reading ends before the limit.
      if (!CopyWithout(path.subspan(1), message, input, copied, data) ||
          input.BytesUntilLimit() != 0) {
        return false;
      }
      input.PopLimit(limit);
    }
    StringOutputStream stream(&rest);
    CodedOutputStream output(&stream);
    output.WriteTag(tag);
    output.WriteVarint32(static_cast<uint32_t>(copied.size()));
    output.WriteString(copied);
    start = input.CurrentPosition();
  }
  return input.ConsumedEntireMessage();
}

bool ParseWithout(absl::Span<const int> path, const SlicedBytes& message,
                  google::protobuf::MessageLite& request, DataPlace& data) {
  std::string rest;
  PieceStream pieces(message);
  CodedInputStream input(&pieces);
  return CopyWithout(path, message, input, rest, data) && request.ParseFromString(rest);
}

}  // namespace

void SlicedBytes::Add(absl::string_view piece) {
  if (piece.empty()) return;
  size_ += piece.size();
  pieces_.push_back({piece, size_});
}

absl::string_view SlicedBytes::PieceFrom(uint64_t offset) const {
  const auto piece =
      std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                       [](uint64_t at, const Piece& candidate) { return at < candidate.end; });
  return piece->bytes.substr(piece->bytes.size() - static_cast<size_t>(piece->end - offset));
}

const char* SlicedBytes::Find(uint64_t offset, size_t size) const {
  const absl::string_view rest = PieceFrom(offset);
  return rest.size() >= size ? rest.data() : nullptr;
}

absl::Status SlicedBytes::Read(uint64_t offset, size_t size, char* to) const {
  while (size > 0) {
    const absl::string_view rest = PieceFrom(offset).substr(0, size);
    std::memcpy(to, rest.data(), rest.size());
    to += rest.size();
    offset += rest.size();
    size -= rest.size();
  }
  return absl::OkStatus();
}

SlicedBytes SlicedBytes::Part(uint64_t offset, uint64_t size) const {
  SlicedBytes part;
  while (part.size() < size) {
    part.Add(PieceFrom(offset + part.size()).substr(0, size - part.size()));
  }
  return part;
}

bool ParseWhole(const SlicedBytes& message, google::protobuf::MessageLite& request) {
  if (message.size() > 0) {
    const char* const whole = message.Find(0, message.size());
    if (whole != nullptr) return request.ParseFromArray(whole, static_cast<int>(message.size()));
  }
  PieceStream pieces(message);
  return request.ParseFromZeroCopyStream(&pieces);
}

bool ParseSliced(const SlicedBytes& message, v1::SampleRequest& request, SlicedBytes& data) {
  DataPlace place;
  if (!ParseWithout({v1::SampleRequest::kTensorFieldNumber, v1::Tensor::kDataFieldNumber}, message,
                    request, place)) {
    return false;
  }
  if (request.tensor().has_data()) data = message.Part(place.offset, place.size);
  return true;
}

bool ParseSliced(const SlicedBytes& message, v1::SampleStreamRequest& request, SlicedBytes& data) {
  DataPlace place;
  if (!ParseWithout({v1::SampleStreamRequest::kStepFieldNumber,
                     v1::StepSequences::kTensorFieldNumber, v1::Tensor::kDataFieldNumber},
                    message, request, place)) {
    return false;
  }
  if (request.step().tensor().has_data()) data = message.Part(place.offset, place.size);
  return true;
}

}  // namespace token_sampler
