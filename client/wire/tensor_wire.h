// Encodes requests whose tensors are sent from where they are in memory.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_TENSOR_WIRE_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_TENSOR_WIRE_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/tensor.pb.h"

namespace token_sampler::client {

v1::DataType ToProto(DataType type);
v1::RegionSlice ToProto(const RegionRows& rows);

// InvalidArgument when the matrix contradicts itself. `field` names it in errors.
absl::Status CheckMatrix(const Matrix& matrix, absl::string_view field);

// A matrix to send as a message's Tensor field of this number.
struct TensorField {
  int number;
  const Matrix* matrix;
};

// Serializes these tensors and all fields of `others` as one message. The values are slices of
// their own: they are copied once, or not at all if the matrix has an owner. InvalidArgument when
// the message would exceed 2^31 - 1 bytes. The matrices must have passed CheckMatrix.
absl::StatusOr<grpc::ByteBuffer> EncodeWithTensors(const std::vector<TensorField>& tensors,
                                                   const google::protobuf::MessageLite& others);

// Wraps the message in an outer message, as its field `number`, without a copy.
grpc::ByteBuffer WrapInField(int number, const grpc::ByteBuffer& message);

// The Internal error for an inconsistent response.
absl::Status Malformed(absl::string_view what);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_TENSOR_WIRE_H_
