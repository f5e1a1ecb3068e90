// Converts the status of a call, with advice on what the caller can do.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_CALL_STATUS_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_CALL_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace token_sampler::client {

// The code and message of the server or of gRPC, followed by advice. `address` and `timeout` are
// those of the call.
absl::Status ToAbsl(const grpc::Status& status, const std::string& address, absl::Duration timeout);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_CALL_STATUS_H_
