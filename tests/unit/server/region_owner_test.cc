// Tests who owns which regions, for clients of a server that listens on a Unix socket and on the
// loopback interface.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/create_channel_posix.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "inference/grpc_inference_service.grpc.pb.h"
#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "tests/testing/unary_call.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kBytes = 4096;
constexpr uid_t kNobody = 65534;

using Native = v1::TokenSampler::Stub;
using Kserve = inference::GRPCInferenceService::Stub;

// A client with its own connection.
struct Client {
  explicit Client(const std::shared_ptr<grpc::Channel>& channel)
      : native(v1::TokenSampler::NewStub(channel)),
        kserve(inference::GRPCInferenceService::NewStub(channel)) {}

  std::unique_ptr<Native> native;
  std::unique_ptr<Kserve> kserve;
};

class RegionOwnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "region-owner-XXXXXX";
    folder_ = mkdtemp(folder.data());
    std::filesystem::permissions(folder_, std::filesystem::perms::all);
    const int fd = shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, kBytes), 0);
    close(fd);
    ServerOptions options;
    options.listen = {absl::StrCat("unix:", Path()), "127.0.0.1:0"};
    options.socket_mode = "0777";
    options.regions.kinds = "system";
    options.regions.max_regions_per_peer = 2;
    auto server = Server::Start(options, *sampler_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void TearDown() override {
    server_.reset();
    shm_unlink(key_.c_str());
    std::filesystem::remove_all(folder_);
  }

  std::string Path() const { return folder_ / "socket"; }

  Client Connect(size_t address) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return Client(grpc::CreateCustomChannel(server_->addresses()[address],
                                            grpc::InsecureChannelCredentials(), arguments));
  }

  // Connects to the Unix socket as another user, which only root can do.
  Client ConnectAs(uid_t user) const {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    std::thread([&] {
      // The system call changes only this thread; the C library's function would change the whole
      // process.
      EXPECT_EQ(syscall(SYS_setresuid, user, user, user), 0);
      sockaddr_un address = {};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, Path().c_str(), sizeof(address.sun_path) - 1);
      EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    }).join();
    return Client(grpc::CreateInsecureChannelFromFd("server", fd));
  }

  grpc::StatusCode Register(const Client& client, const std::string& name) const {
    v1::RegisterRegionRequest request;
    request.set_name(name);
    request.set_kind(v1::REGION_KIND_SYSTEM);
    request.set_key(key_);
    request.set_byte_size(kBytes);
    return Call(*client.native, &Native::RegisterRegion, request).error_code();
  }

  static grpc::StatusCode Unregister(const Client& client, const std::string& name) {
    v1::UnregisterRegionRequest request;
    request.set_name(name);
    return Call(*client.native, &Native::UnregisterRegion, request).error_code();
  }

  static grpc::StatusCode KserveUnregister(const Client& client, const std::string& name) {
    inference::SystemSharedMemoryUnregisterRequest request;
    request.set_name(name);
    return Call(*client.kserve, &Kserve::SystemSharedMemoryUnregister, request).error_code();
  }

  static grpc::StatusCode Sample(const Client& client, const std::string& region) {
    v1::SampleRequest request;
    v1::Tensor& tensor = *request.mutable_tensor();
    tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
    tensor.set_rows(1);
    tensor.set_vocab(10);
    tensor.mutable_region()->set_name(region);
    return Call(*client.native, &Native::Sample, request).error_code();
  }

  static std::vector<std::string> Names(const Client& client) {
    v1::ListRegionsResponse listed;
    EXPECT_TRUE(Call(*client.native, &Native::ListRegions, {}, listed).ok());
    inference::SystemSharedMemoryStatusResponse status;
    EXPECT_TRUE(Call(*client.kserve, &Kserve::SystemSharedMemoryStatus, {}, status).ok());
    std::vector<std::string> names;
    for (const auto& region : listed.regions()) {
      names.push_back(region.name());
      EXPECT_TRUE(status.regions().contains(region.name()));
    }
    return names;
  }

  // Expects that everything a client can try with another's region "mine" fails.
  static void ExpectStranger(const Client& stranger) {
    EXPECT_EQ(Sample(stranger, "mine"), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(Unregister(stranger, "mine"), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(KserveUnregister(stranger, "mine"), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(Unregister(stranger, ""), grpc::StatusCode::OK);
    EXPECT_EQ(KserveUnregister(stranger, ""), grpc::StatusCode::OK);
    EXPECT_THAT(Names(stranger), IsEmpty());
  }

  const std::string key_ = absl::StrCat("/token-sampler-owner-", getpid());
  std::filesystem::path folder_;
  std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
  std::unique_ptr<Server> server_;
};

TEST_F(RegionOwnerTest, AnAddressKnowsNothingOfAUsersRegions) {
  const Client user = Connect(0);
  const Client address = Connect(1);
  ASSERT_EQ(Register(user, "mine"), grpc::StatusCode::OK);
  ExpectStranger(address);
  EXPECT_EQ(Sample(user, "mine"), grpc::StatusCode::OK);
  EXPECT_EQ(Sample(Connect(0), "mine"), grpc::StatusCode::OK);
  // The other client can use the same name for its own region.
  EXPECT_EQ(Register(address, "mine"), grpc::StatusCode::OK);
  EXPECT_EQ(Register(user, "mine"), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(KserveUnregister(address, ""), grpc::StatusCode::OK);
  EXPECT_THAT(Names(user), ElementsAre("mine"));
}

TEST_F(RegionOwnerTest, ConnectionsOfAUnixSocketAreCountedOneByOne) {
  const Client first = Connect(0);
  const Client second = Connect(0);
  EXPECT_EQ(Register(first, "a"), grpc::StatusCode::OK);
  EXPECT_EQ(Register(first, "b"), grpc::StatusCode::OK);
  EXPECT_EQ(Register(first, "c"), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Register(second, "c"), grpc::StatusCode::OK);
  // Without a name this unregisters the regions of the connection.
  EXPECT_EQ(Unregister(second, ""), grpc::StatusCode::OK);
  EXPECT_THAT(Names(second), ElementsAre("a", "b"));
}

TEST_F(RegionOwnerTest, UsersKnowNothingOfEachOthersRegions) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be several users";
  ASSERT_EQ(chown(absl::StrCat("/dev/shm", key_).c_str(), kNobody, kNobody), 0);
  const Client owner = ConnectAs(kNobody);
  const Client stranger = ConnectAs(kNobody - 1);
  ASSERT_EQ(Register(owner, "mine"), grpc::StatusCode::OK);
  ExpectStranger(stranger);
  // The stranger cannot make the server open the object either.
  EXPECT_EQ(Register(stranger, "mine"), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Sample(owner, "mine"), grpc::StatusCode::OK);
  const Client root = Connect(0);
  EXPECT_THAT(Names(root), ElementsAre("mine"));
  EXPECT_EQ(Sample(root, "mine"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(KserveUnregister(root, ""), grpc::StatusCode::OK);
  EXPECT_THAT(Names(owner), IsEmpty());
}

}  // namespace
}  // namespace token_sampler
