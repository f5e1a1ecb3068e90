// absl::Status to grpc::Status.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_
#define TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace token_sampler {

// The same code; the message is cut at 2,048 bytes, because it travels in a header.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_STATUS_MAPPING_H_
