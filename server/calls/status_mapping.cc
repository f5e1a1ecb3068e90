#include "server/calls/status_mapping.h"

#include <string>

namespace token_sampler {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  constexpr size_t kMaxMessageBytes = 2048;
  // The codes of Abseil have the numbers of gRPC's.
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message().substr(0, kMaxMessageBytes))};
}

}  // namespace token_sampler
