// Tests that a connection is made although gRPC reads errno late. Here connect() itself does the
// worst of what gRPC does in between.

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/base/internal/sysinfo.h"
#include "tests/unit/client/fake_server.h"
#include "token_sampler/sampler_client.h"

// gRPC's shared library calls this instead of the C library's function. It leaves the errno that
// Abseil leaves when the first thread of a process waits for a lock.
extern "C" int connect(int socket, const sockaddr* address, socklen_t size) {
  const auto result = static_cast<int>(syscall(SYS_connect, socket, address, size));
  if (result != 0 && errno == EINPROGRESS) {
    static_cast<void>(absl::base_internal::NumCPUs());
    static_cast<void>(absl::base_internal::NominalCPUFrequency());
  }
  return result;
}

namespace token_sampler::client {
namespace {

TEST(ConnectTest, SucceedsWhereALockIsWaitedForMeanwhile) {
  testing::FakeServer server;
  const absl::StatusOr<SamplerClient> client = SamplerClient::Connect(server.address());
  ASSERT_TRUE(client.ok()) << client.status();
  const absl::StatusOr<ServerInfo> info = client->GetServerInfo();
  EXPECT_TRUE(info.ok()) << info.status();
}

}  // namespace
}  // namespace token_sampler::client
