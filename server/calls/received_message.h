// A received message, which is parsed only after the ledger has granted the memory that it takes.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_RECEIVED_MESSAGE_H_
#define TOKEN_SAMPLER_SERVER_CALLS_RECEIVED_MESSAGE_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"
#include "server/calls/parsed_size.h"
#include "server/calls/sliced_request.h"
#include "server/codec/field_check.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/row_codec.h"
#include "server/memory/ledger.h"

namespace token_sampler {

// Keeps the received pieces until it is destroyed, is cleared or parses another message. If Request
// has no ParseSliced, it drops the pieces after parsing, and the caller should drop the received
// message too. A small message is parsed whole, because copying its tensor costs less than leaving
// it in the pieces.
template <typename Request>
class ReceivedMessage {
 public:
  explicit ReceivedMessage(const CallContext& context)
      : limits_({context.limits.max_rows, context.limits.max_parsed_bytes}),
        memory_(context.ledger, Account::kRequests) {}

  // Parses a message. InvalidArgument if it is not a Request, or MeasureParsed refuses it;
  // ResourceExhausted if there is no memory for it.
  absl::Status Parse(const grpc::ByteBuffer& message) {
    Clear();
    all_known_ = false;
    // Copies no bytes: the slices stay as they are.
    if (!Dump(message)) return NotOfType(Request::descriptor()->full_name(), 0);
    SlicedBytes bytes;
    for (const grpc::Slice& slice : slices_) {
      bytes.Add({reinterpret_cast<const char*>(slice.begin()), slice.size()});
    }
    ParsedSize size;
    RETURN_IF_ERROR(MeasureParsed(*Request::descriptor(), bytes, limits_, size));
    const uint64_t pieces = slices_.size() * kPieceBytes;
    sliced_ = kSliced && bytes.size() > kCopiedBytes;
    if (!sliced_) {
      size.kept += size.data;
      size.scratch = 0;
    }
    // In one step, because all threads share the ledger.
    RETURN_IF_ERROR(memory_.Grow(bytes.size() + pieces + size.kept + size.scratch));
    if (!ParseBytes(bytes)) {
      return NotOfType(Request::descriptor()->full_name(), bytes.size());
    }
    if (!kSliced) DropSlices();
    memory_.ShrinkTo(size.kept + (kSliced ? bytes.size() + pieces : 0));
    all_known_ = size.all_known;
    return absl::OkStatus();
  }

  // Returns what CheckFields returns for the message. Nearly always knows that without reading it
  // again.
  absl::Status CheckFields() const {
    return all_known_ ? absl::OkStatus() : token_sampler::CheckFields(request_);
  }

  void Clear() {
    // A cleared message keeps the memory of its lists for the next one. Free it if it is large.
    if (memory_.bytes() > kLargeBytes) Request().Swap(&request_);
    request_.Clear();
    data_.Clear();
    DropSlices();
    memory_.ShrinkTo(0);
  }

  // The message. If data() is not null, it has the values of the tensor, and the message does not.
  const Request& request() const { return request_; }
  Request& mutable_request() { return request_; }
  const SlicedBytes* data() const { return sliced_ ? &data_ : nullptr; }

  // The memory that all of it takes, in bytes.
  uint64_t bytes() const { return memory_.bytes(); }

 private:
  static constexpr bool kSliced =
      requires(const SlicedBytes& bytes, Request& request, SlicedBytes& data) {
    ParseSliced(bytes, request, data);
  };
  // The overhead of a piece: in gRPC, here and in SlicedBytes, in arrays that double.
  static constexpr uint64_t kPieceBytes = 128;
  static constexpr uint64_t kLargeBytes = uint64_t{64} << 10;
  // Messages of up to this many bytes are copied and parsed whole, even if there is ParseSliced.
  static constexpr uint64_t kCopiedBytes = uint64_t{8} << 10;

  void DropSlices() {
    slices_.clear();
    slices_.shrink_to_fit();
  }

  bool Dump(const grpc::ByteBuffer& message) {
    grpc::Slice only;
    if (message.TrySingleSlice(&only).ok()) {
      slices_.push_back(std::move(only));
      return true;
    }
    std::vector<grpc::Slice> slices;
    if (!message.Dump(&slices).ok()) return false;
    slices_.assign(std::make_move_iterator(slices.begin()), std::make_move_iterator(slices.end()));
    return true;
  }

  bool ParseBytes(const SlicedBytes& bytes) {
    if constexpr (kSliced) {
      if (sliced_) return ParseSliced(bytes, request_, data_);
    }
    return ParseWhole(bytes, request_);
  }

  const ParseLimits limits_;
  MemoryGrant memory_;
  absl::InlinedVector<grpc::Slice, 1> slices_;  // mostly one
  Request request_;
  SlicedBytes data_;
  bool sliced_ = false;
  bool all_known_ = false;
};

// Frees the request's buffer before the call is over. gRPC passes it as const, but it belongs to
// the call, and after its message was parsed or answered it only takes memory.
inline void LetGo(const grpc::ByteBuffer& request) {
  const_cast<grpc::ByteBuffer&>(request).Clear();
}

// Writes a message for the transport to send. ResourceExhausted if it exceeds protobuf's limit of 2
// GiB.
template <typename Response>
absl::Status SerializeMessage(const Response& response, grpc::ByteBuffer& to) {
  const size_t size = response.ByteSizeLong();
  if (size > size_t{std::numeric_limits<int32_t>::max()}) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the answer must be smaller than 2 GiB, has ", size, " bytes"));
  }
  // For a small answer, gRPC's writer, which makes pieces, costs more than the answer itself.
  constexpr size_t kOnePiece = size_t{16} << 10;
  if (size <= kOnePiece) {
    grpc_slice piece = grpc_slice_malloc(size);
    response.SerializeWithCachedSizesToArray(GRPC_SLICE_START_PTR(piece));
    const grpc::Slice slice(piece, grpc::Slice::STEAL_REF);
    grpc::ByteBuffer bytes(&slice, 1);
    to.Swap(&bytes);
    return absl::OkStatus();
  }
  bool owned = false;
  const grpc::Status status = grpc::SerializationTraits<Response>::Serialize(response, &to, &owned);
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.error_message());
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_RECEIVED_MESSAGE_H_
