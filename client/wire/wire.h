// Converts between the library's plain types and token_sampler.v1 messages. Private to the library.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_WIRE_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_WIRE_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {

// Serializes the request. The values are a slice of their own: they are copied once, or not at all
// if the matrix has an owner. InvalidArgument when the matrix contradicts itself or the message
// would exceed 2^31 - 1 bytes.
absl::StatusOr<grpc::ByteBuffer> EncodeSampleRequest(const SampleRequest& request);

// Internal when the response is inconsistent or does not have `rows` rows.
absl::StatusOr<SampleResult> DecodeSampleResponse(const v1::SampleResponse& response, int64_t rows);

// Copies the values into the message. InvalidArgument when the matrix contradicts itself.
absl::StatusOr<v1::DescribeRequest> EncodeDescribeRequest(const SampleRequest& request,
                                                          uint32_t top_n);

// Internal when the response is inconsistent.
absl::StatusOr<Description> DecodeDescription(const v1::DescribeResponse& response);

ServerInfo DecodeServerInfo(const v1::GetServerInfoResponse& response);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_WIRE_H_
