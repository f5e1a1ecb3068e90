// Converts absl::Status to grpc::Status.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_
#define TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace token_sampler {

// Keeps the code. Cuts the message at 2,048 bytes, because it is sent in a header.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_
