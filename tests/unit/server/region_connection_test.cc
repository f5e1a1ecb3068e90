// Tests that regions of clients that are gone make room for those of others.

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "tests/testing/eventually.h"
#include "tests/testing/unary_call.h"

namespace token_sampler {
namespace {

constexpr uint64_t kBytes = 4096;

class RegionConnectionTest : public ::testing::Test {
 protected:
  using Stub = v1::TokenSampler::Stub;

  void SetUp() override {
    const int fd = shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, kBytes), 0);
    close(fd);
    ServerOptions options;
    options.listen = {"127.0.0.1:0", "[::1]:0", absl::StrCat("unix:", socket_)};
    options.regions.kinds = "system";
    options.regions.max_regions = 1;
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options, *sampler_);
    if (!server.ok()) GTEST_SKIP() << "this machine has no IPv6: " << server.status();
    server_ = *std::move(server);
  }

  void TearDown() override { shm_unlink(key_.c_str()); }

  // Makes a client with its own connection.
  static std::unique_ptr<Stub> Connect(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::TokenSampler::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  grpc::StatusCode Register(Stub& stub, const std::string& name) const {
    v1::RegisterRegionRequest request;
    request.set_name(name);
    request.set_kind(v1::REGION_KIND_SYSTEM);
    request.set_key(key_);
    request.set_byte_size(kBytes);
    return Call(stub, &Stub::RegisterRegion, request).error_code();
  }

  const std::string key_ = absl::StrCat("/token-sampler-connection-", getpid());
  const std::string socket_ = absl::StrCat(::testing::TempDir(), "region-connection-", getpid());
  std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
  std::unique_ptr<Server> server_;
};

TEST_F(RegionConnectionTest, RegionsOfClosedConnectionsMakeRoom) {
  const std::unique_ptr<Stub> other = Connect(server_->addresses()[0]);
  int number = 0;
  for (const std::string& address : server_->addresses()) {
    std::unique_ptr<Stub> owner = Connect(address);
    ASSERT_EQ(Register(*owner, absl::StrCat("owned", number)), grpc::StatusCode::OK) << address;
    EXPECT_EQ(Register(*other, absl::StrCat("other", number)),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
    owner.reset();
    ASSERT_TRUE(testing::Eventually([this] { return server_->connections().open == 1; }));
    ASSERT_EQ(Register(*other, absl::StrCat("other", number)), grpc::StatusCode::OK) << address;
    ASSERT_TRUE(Call(*other, &Stub::UnregisterRegion, v1::UnregisterRegionRequest()).ok());
    ++number;
  }
}

}  // namespace
}  // namespace token_sampler
