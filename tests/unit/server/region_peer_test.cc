// Tests that a client on another machine can do nothing with shared memory, and gets an error. The
// test connects to this machine by an address that is not on the loopback interface.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "inference/grpc_inference_service.grpc.pb.h"
#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "tests/testing/fake_cuda_region.h"
#include "tests/testing/unary_call.h"

namespace token_sampler {
namespace {

constexpr char kRefusal[] =
    "shared memory is for clients on a Unix socket or the loopback interface; "
    "--shared-memory-peers=any lifts that";
constexpr uint64_t kBytes = 4096;

// Returns an address of this machine that others could reach; "" if there is none.
std::string OutsideAddress() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return "";
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(first, freeifaddrs);
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    const bool up = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_LOOPBACK) == 0;
    if (!up || entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    char text[INET_ADDRSTRLEN];
    const auto* const address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
    return inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
  }
  return "";
}

// The stubs of both protocols for one peer.
struct Stubs {
  explicit Stubs(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    const auto channel =
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    native = v1::TokenSampler::NewStub(channel);
    kserve = inference::GRPCInferenceService::NewStub(channel);
  }

  std::unique_ptr<v1::TokenSampler::Stub> native;
  std::unique_ptr<inference::GRPCInferenceService::Stub> kserve;
};

class RegionPeerTest : public ::testing::Test {
 protected:
  using Native = v1::TokenSampler::Stub;
  using Kserve = inference::GRPCInferenceService::Stub;

  void SetUp() override {
    const std::string host = OutsideAddress();
    if (host.empty()) GTEST_SKIP() << "this machine has no address but the loopback interface's";
    const int fd = shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, kBytes), 0);
    close(fd);
    Start("local");
    foreign_ = std::make_unique<Stubs>(absl::StrCat(host, ":", port_));
    local_ = std::make_unique<Stubs>(absl::StrCat("127.0.0.1:", port_));
    ASSERT_TRUE(Call(*local_->native, &Native::RegisterRegion, SystemRegion("system")).ok());
    ASSERT_TRUE(Call(*local_->native, &Native::RegisterRegion, CudaRegion("cuda")).ok());
  }

  void TearDown() override { shm_unlink(key_.c_str()); }

  void Start(const std::string& peers) {
    ServerOptions options;
    options.listen = {"0.0.0.0:0"};
    options.regions.kinds = "all";
    options.regions.peers = peers;
    options.regions.open_cuda = [](const CudaRegionRequest&) {
      return std::make_shared<FakeCudaRegion>(std::vector<float>(kBytes / sizeof(float)));
    };
    auto server = Server::Start(options, *sampler_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    const std::string& address = server_->addresses()[0];
    port_ = address.substr(address.rfind(':') + 1);
  }

  v1::RegisterRegionRequest SystemRegion(const std::string& name) const {
    v1::RegisterRegionRequest request;
    request.set_name(name);
    request.set_kind(v1::REGION_KIND_SYSTEM);
    request.set_key(key_);
    request.set_byte_size(kBytes);
    return request;
  }

  static v1::RegisterRegionRequest CudaRegion(const std::string& name) {
    v1::RegisterRegionRequest request;
    request.set_name(name);
    request.set_kind(v1::REGION_KIND_CUDA);
    request.set_cuda_handle(std::string(64, 'h'));
    request.set_byte_size(kBytes);
    return request;
  }

  static void SetTensor(const std::string& region, v1::Tensor& tensor) {
    tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
    tensor.set_rows(1);
    tensor.set_vocab(10);
    tensor.mutable_region()->set_name(region);
  }

  // Expects that the local peer still sees both of its regions, and that they are idle.
  void ExpectNothingChanged() const {
    v1::ListRegionsResponse listed;
    ASSERT_TRUE(Call(*local_->native, &Native::ListRegions, {}, listed).ok());
    ASSERT_EQ(listed.regions_size(), 2);
    EXPECT_EQ(listed.regions(0).name(), "cuda");
    EXPECT_EQ(listed.regions(1).name(), "system");
  }

  static void ExpectRefused(const grpc::Status& status, const std::string& field = "") {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(status.error_message(), field + kRefusal);
  }

  const std::string key_ = absl::StrCat("/token-sampler-peer-test-", getpid());
  std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
  std::unique_ptr<Server> server_;
  std::string port_;
  std::unique_ptr<Stubs> foreign_;
  std::unique_ptr<Stubs> local_;
};

TEST_F(RegionPeerTest, RegistersListsAndForgetsNothing) {
  Native& stub = *foreign_->native;
  ExpectRefused(Call(stub, &Native::RegisterRegion, SystemRegion("other")));
  ExpectRefused(Call(stub, &Native::RegisterRegion, CudaRegion("other")));
  ExpectRefused(Call(stub, &Native::ListRegions));
  ExpectRefused(Call(stub, &Native::UnregisterRegion));
  for (const char* name : {"system", "cuda", "none"}) {
    v1::UnregisterRegionRequest request;
    request.set_name(name);
    ExpectRefused(Call(stub, &Native::UnregisterRegion, request));
  }
  ExpectNothingChanged();
}

TEST_F(RegionPeerTest, SamplesNoRegion) {
  for (const char* region : {"system", "cuda", "none"}) {
    v1::SampleRequest sample;
    SetTensor(region, *sample.mutable_tensor());
    ExpectRefused(Call(*foreign_->native, &Native::Sample, sample), "tensor.region: ");
    v1::DescribeRequest describe;
    SetTensor(region, *describe.mutable_request()->mutable_tensor());
    ExpectRefused(Call(*foreign_->native, &Native::Describe, describe), "tensor.region: ");
    v1::VerifyDraftRequest verify;
    SetTensor(region, *verify.mutable_target());
    verify.add_draft_lengths(0);
    ExpectRefused(Call(*foreign_->native, &Native::VerifyDraft, verify), "target.region: ");
  }
  v1::SampleRequest inline_values;
  SetTensor("", *inline_values.mutable_tensor());
  inline_values.mutable_tensor()->set_data(std::string(40, '\0'));
  EXPECT_TRUE(Call(*foreign_->native, &Native::Sample, inline_values).ok());
  ExpectNothingChanged();
}

TEST_F(RegionPeerTest, NorDoItsStreams) {
  grpc::ClientContext context;
  const auto stream = foreign_->native->SampleStream(&context);
  v1::SampleStreamRequest request;
  request.mutable_open()->set_vocab(10);
  request.mutable_open()->add_sequences()->set_sequence_id(1);
  v1::SampleStreamResponse answer;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_EQ(answer.status_code(), 0u) << answer.status_message();
  request.mutable_step()->add_sequence_ids(1);
  SetTensor("system", *request.mutable_step()->mutable_tensor());
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.status_code(), uint32_t{grpc::StatusCode::PERMISSION_DENIED});
  EXPECT_EQ(answer.status_message(), absl::StrCat("step.tensor.region: ", kRefusal));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RegionPeerTest, KserveRefusesToo) {
  Kserve& stub = *foreign_->kserve;
  inference::SystemSharedMemoryRegisterRequest system;
  system.set_name("other");
  system.set_key(key_);
  system.set_byte_size(kBytes);
  ExpectRefused(Call(stub, &Kserve::SystemSharedMemoryRegister, system));
  inference::CudaSharedMemoryRegisterRequest cuda;
  cuda.set_name("other");
  cuda.set_raw_handle(std::string(64, 'h'));
  cuda.set_byte_size(kBytes);
  ExpectRefused(Call(stub, &Kserve::CudaSharedMemoryRegister, cuda));
  for (const char* name : {"system", "cuda", "none"}) {
    inference::SystemSharedMemoryStatusRequest system_status;
    system_status.set_name(name);
    ExpectRefused(Call(stub, &Kserve::SystemSharedMemoryStatus, system_status));
    inference::CudaSharedMemoryStatusRequest cuda_status;
    cuda_status.set_name(name);
    ExpectRefused(Call(stub, &Kserve::CudaSharedMemoryStatus, cuda_status));
    inference::SystemSharedMemoryUnregisterRequest system_end;
    system_end.set_name(name);
    ExpectRefused(Call(stub, &Kserve::SystemSharedMemoryUnregister, system_end));
    inference::CudaSharedMemoryUnregisterRequest cuda_end;
    cuda_end.set_name(name);
    ExpectRefused(Call(stub, &Kserve::CudaSharedMemoryUnregister, cuda_end));
  }
  inference::ModelInferRequest infer;
  infer.set_model_name("sampler");
  auto& logits = *infer.add_inputs();
  logits.set_name("logits");
  logits.set_datatype("FP32");
  logits.add_shape(1);
  logits.add_shape(10);
  infer.add_raw_input_contents(std::string(40, '\0'));
  auto& output = *infer.add_outputs();
  output.set_name("token_ids");
  EXPECT_TRUE(Call(stub, &Kserve::ModelInfer, infer).ok());
  (*output.mutable_parameters())["shared_memory_region"].set_string_param("system");
  (*output.mutable_parameters())["shared_memory_byte_size"].set_int64_param(4);
  ExpectRefused(Call(stub, &Kserve::ModelInfer, infer), "outputs.token_ids: ");
  infer.clear_raw_input_contents();
  infer.clear_outputs();
  (*logits.mutable_parameters())["shared_memory_region"].set_string_param("system");
  (*logits.mutable_parameters())["shared_memory_byte_size"].set_int64_param(40);
  ExpectRefused(Call(stub, &Kserve::ModelInfer, infer), "inputs.logits: ");
  ExpectNothingChanged();
}

// Triton's tools do this before anything else, even if they will not use shared memory.
TEST_F(RegionPeerTest, KserveClientsMayForgetAllThatTheyHaveWhichIsNothing) {
  Kserve& stub = *foreign_->kserve;
  EXPECT_TRUE(Call(stub, &Kserve::SystemSharedMemoryUnregister).ok());
  EXPECT_TRUE(Call(stub, &Kserve::CudaSharedMemoryUnregister).ok());
  inference::SystemSharedMemoryStatusResponse system;
  EXPECT_TRUE(Call(stub, &Kserve::SystemSharedMemoryStatus, {}, system).ok());
  EXPECT_EQ(system.regions_size(), 0);
  inference::CudaSharedMemoryStatusResponse cuda;
  EXPECT_TRUE(Call(stub, &Kserve::CudaSharedMemoryStatus, {}, cuda).ok());
  EXPECT_EQ(cuda.regions_size(), 0);
  ExpectNothingChanged();
}

TEST_F(RegionPeerTest, AnyPeerMayWhereTheServerSaysSo) {
  server_.reset();
  Start("any");
  const Stubs foreign(absl::StrCat(OutsideAddress(), ":", port_));
  EXPECT_TRUE(Call(*foreign.native, &Native::RegisterRegion, SystemRegion("system")).ok());
  v1::SampleRequest sample;
  SetTensor("system", *sample.mutable_tensor());
  EXPECT_TRUE(Call(*foreign.native, &Native::Sample, sample).ok());
}

}  // namespace
}  // namespace token_sampler
