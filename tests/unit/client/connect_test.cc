// A connection is made although gRPC looks at errno late: what it does in between, at worst, is
// done within connect() here.

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/base/internal/sysinfo.h"
#include "tests/unit/client/fake_server.h"
#include "token_sampler/sampler_client.h"

// Taken instead of the C library's by gRPC's shared library: leaves the errno that Abseil leaves
// where a lock has to be waited for, by the first thread of the process to do so.
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
