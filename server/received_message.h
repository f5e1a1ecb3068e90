// A message as the transport received it, in the pieces that it came in.

#ifndef TOKEN_SAMPLER_SERVER_RECEIVED_MESSAGE_H_
#define TOKEN_SAMPLER_SERVER_RECEIVED_MESSAGE_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/invalid_argument.h"
#include "server/sliced_request.h"

namespace token_sampler {

// Keeps the memory of the pieces until it goes, receives another or is cleared.
template <typename Request>
class ReceivedMessage {
 public:
  // InvalidArgument when it is no such message.
  absl::Status Parse(const grpc::ByteBuffer& message) {
    Clear();
    // The slices stay as they are.
    if (!message.Dump(&slices_).ok()) return absl::InternalError("the request has no bytes");
    SlicedBytes bytes;
    for (const grpc::Slice& slice : slices_) {
      bytes.Add({reinterpret_cast<const char*>(slice.begin()), slice.size()});
    }
    if (ParseSliced(bytes, request_, data_)) return absl::OkStatus();
    return Invalid("the request must be a ", Request::descriptor()->full_name(), ", its ",
                   bytes.size(), " bytes are none");
  }

  void Clear() {
    request_.Clear();
    data_ = SlicedBytes();
    slices_.clear();
  }

  // Without the values of its tensor, which are `data`.
  const Request& request() const { return request_; }
  const SlicedBytes& data() const { return data_; }

 private:
  std::vector<grpc::Slice> slices_;
  Request request_;
  SlicedBytes data_;
};

// Writes a message for the transport to send. ResourceExhausted when it is larger than protobuf's
// limit of 2 GiB.
template <typename Response>
absl::Status SerializeMessage(const Response& response, grpc::ByteBuffer& to) {
  const size_t size = response.ByteSizeLong();
  if (size > size_t{std::numeric_limits<int32_t>::max()}) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the answer must be smaller than 2 GiB, has ", size, " bytes"));
  }
  bool owned = false;
  const grpc::Status status = grpc::SerializationTraits<Response>::Serialize(response, &to, &owned);
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.error_message());
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_RECEIVED_MESSAGE_H_
