// Tests that statuses reach callers with their code, and with messages that fit into metadata.

#include "server/calls/status_mapping.h"

#include <gtest/gtest.h>

#include <string>

namespace token_sampler {
namespace {

TEST(StatusMappingTest, KeepsTheCodeAndCutsLongMessages) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  const grpc::Status status = ToGrpcStatus(absl::ResourceExhaustedError(std::string(9000, 'x')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message().size(), 2048u);
  EXPECT_EQ(ToGrpcStatus(absl::UnimplementedError("m")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace token_sampler
