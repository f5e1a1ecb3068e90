// Requests whose tensors are sent from where they lie.

#ifndef TOKEN_SAMPLER_CLIENT_TENSOR_WIRE_H_
#define TOKEN_SAMPLER_CLIENT_TENSOR_WIRE_H_

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

// InvalidArgument when the matrix contradicts itself; `field` is its name.
absl::Status CheckMatrix(const Matrix& matrix, absl::string_view field);

// A matrix in place of a message's Tensor field of this number.
struct TensorField {
  int number;
  const Matrix* matrix;
};

// The serialised message of these tensors and all `others`. The values are slices of their own:
// they are copied once, or not at all when the matrix has an owner. InvalidArgument when the
// message would exceed 2^31 - 1 bytes. The matrices must have passed CheckMatrix.
absl::StatusOr<grpc::ByteBuffer> EncodeWithTensors(const std::vector<TensorField>& tensors,
                                                   const google::protobuf::MessageLite& others);

// The message as the field of this number of a message around it, without a copy.
grpc::ByteBuffer WrapInField(int number, const grpc::ByteBuffer& message);

// Internal, of a response that does not hold together.
absl::Status Malformed(absl::string_view what);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_TENSOR_WIRE_H_
