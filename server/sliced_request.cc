#include "server/sliced_request.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

namespace token_sampler {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr uint32_t Tag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}

// What protobuf reads from.
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

// Where tensor.data is in the message.
struct DataPlace {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// Copies a tensor without its data, of which the last counts.
bool CopyTensor(CodedInputStream& input, CodedOutputStream& output, DataPlace& data) {
  while (const uint32_t tag = input.ReadTag()) {
    if (tag != Tag(v1::Tensor::kDataFieldNumber)) {
      if (!WireFormatLite::SkipField(&input, tag, &output)) return false;
      continue;
    }
    uint32_t size = 0;
    if (!input.ReadVarint32(&size) || size > uint32_t{std::numeric_limits<int32_t>::max()}) {
      return false;
    }
    data = {static_cast<uint64_t>(input.CurrentPosition()), size};
    if (!input.Skip(static_cast<int>(size))) return false;
    output.WriteTag(tag);
    output.WriteVarint32(0);
  }
  return input.ConsumedEntireMessage();
}

// Copies a request without the data of its tensor.
bool CopyRequest(CodedInputStream& input, CodedOutputStream& output, DataPlace& data) {
  while (const uint32_t tag = input.ReadTag()) {
    if (tag != Tag(v1::SampleRequest::kTensorFieldNumber)) {
      if (!WireFormatLite::SkipField(&input, tag, &output)) return false;
      continue;
    }
    uint32_t size = 0;
    if (!input.ReadVarint32(&size) || size > uint32_t{std::numeric_limits<int32_t>::max()}) {
      return false;
    }
    std::string tensor;
    const CodedInputStream::Limit limit = input.PushLimit(static_cast<int>(size));
    {
      StringOutputStream stream(&tensor);
      CodedOutputStream inner(&stream);
      // A limit beyond the end of the message is the end of the message.
      if (!CopyTensor(input, inner, data) || input.BytesUntilLimit() != 0) return false;
    }
    input.PopLimit(limit);
    output.WriteTag(tag);
    output.WriteVarint32(static_cast<uint32_t>(tensor.size()));
    output.WriteString(tensor);
  }
  return input.ConsumedEntireMessage();
}

}  // namespace

void SlicedBytes::Add(absl::string_view piece) {
  if (piece.empty()) return;
  size_ += piece.size();
  pieces_.push_back(piece);
  ends_.push_back(size_);
}

absl::string_view SlicedBytes::PieceFrom(uint64_t offset) const {
  const auto end = std::upper_bound(ends_.begin(), ends_.end(), offset);
  const absl::string_view piece = pieces_[static_cast<size_t>(end - ends_.begin())];
  return piece.substr(piece.size() - static_cast<size_t>(*end - offset));
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

bool ParseSliced(const SlicedBytes& message, v1::SampleRequest& request, SlicedBytes& data) {
  std::string rest;
  DataPlace place;
  {
    PieceStream pieces(message);
    CodedInputStream input(&pieces);
    StringOutputStream stream(&rest);
    CodedOutputStream output(&stream);
    if (!CopyRequest(input, output, place)) return false;
  }
  if (!request.ParseFromString(rest)) return false;
  if (request.tensor().has_data()) data = message.Part(place.offset, place.size);
  return true;
}

}  // namespace token_sampler
