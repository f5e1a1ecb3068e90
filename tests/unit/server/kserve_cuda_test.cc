// Tests CUDA shared memory through the Open Inference Protocol, with a fake for the device's
// memory.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/fake_cuda_region.h"
#include "tests/testing/unary_call.h"
#include "tests/unit/server/kserve_fixture.h"

namespace token_sampler {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Stub = inference::GRPCInferenceService::Stub;

const std::vector<float>& Values() {
  static const auto& values = *new std::vector<float>{1, 2, 3, 9, 8, 7, 1, 1};
  return values;
}

absl::StatusOr<std::shared_ptr<Region>> OpenFake(const CudaRegionRequest& request) {
  EXPECT_EQ(request.handle, std::string(64, 'h'));
  EXPECT_EQ(request.event, "");
  EXPECT_EQ(request.offset, 0u);
  return std::make_shared<FakeCudaRegion>(Values());
}

class KserveCudaTest : private WithReference, public KserveTest {
 protected:
  KserveCudaTest() : KserveTest(*sampler, {.kinds = "all", .open_cuda = OpenFake}) {}

  static inference::CudaSharedMemoryRegisterRequest CudaRegion(const std::string& name,
                                                               int64_t device = 3) {
    inference::CudaSharedMemoryRegisterRequest request;
    request.set_name(name);
    request.set_raw_handle(std::string(64, 'h'));
    request.set_device_id(device);
    request.set_byte_size(Values().size() * sizeof(float));
    return request;
  }

  grpc::Status Register(const inference::CudaSharedMemoryRegisterRequest& request) {
    return Call(*stub_, &Stub::CudaSharedMemoryRegister, request);
  }

  grpc::Status Unregister(const std::string& name) {
    inference::CudaSharedMemoryUnregisterRequest request;
    request.set_name(name);
    return Call(*stub_, &Stub::CudaSharedMemoryUnregister, request);
  }

  inference::CudaSharedMemoryStatusResponse Regions(const std::string& name = "") {
    inference::CudaSharedMemoryStatusRequest request;
    request.set_name(name);
    inference::CudaSharedMemoryStatusResponse regions;
    const grpc::Status status = Call(*stub_, &Stub::CudaSharedMemoryStatus, request, regions);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return regions;
  }
};

TEST_F(KserveCudaTest, SaysThatItHasBothKinds) {
  inference::ServerMetadataResponse metadata;
  ASSERT_TRUE(Call(*stub_, &Stub::ServerMetadata, {}, metadata).ok());
  EXPECT_THAT(metadata.extensions(), Contains("system_shared_memory"));
  EXPECT_THAT(metadata.extensions(), Contains("cuda_shared_memory"));
}

TEST_F(KserveCudaTest, RegistersListsAndForgets) {
  EXPECT_EQ(Regions().regions_size(), 0);
  ASSERT_TRUE(Register(CudaRegion("a")).ok());
  ASSERT_TRUE(Register(CudaRegion("b", 0)).ok());
  EXPECT_EQ(Regions().regions_size(), 2);
  const auto named = Regions("a").regions();
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named.at("a").name(), "a");
  EXPECT_EQ(named.at("a").device_id(), 3u);
  EXPECT_EQ(named.at("a").byte_size(), 32u);
  EXPECT_TRUE(Unregister("a").ok());
  const grpc::Status unknown = Unregister("a");
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), HasSubstr("region \"a\""));
  inference::CudaSharedMemoryStatusRequest of_none;
  of_none.set_name("a");
  const grpc::Status status = Call(*stub_, &Stub::CudaSharedMemoryStatus, of_none);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no region \"a\" is registered");
  EXPECT_TRUE(Unregister("").ok());
  EXPECT_EQ(Regions().regions_size(), 0);
}

TEST_F(KserveCudaTest, RefusesDevicesAndHandlesThatAreNone) {
  for (const int64_t device : {int64_t{-1}, int64_t{1} << 32}) {
    const grpc::Status status = Register(CudaRegion("a", device));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(status.error_message(), absl::StrCat("device_id must be in [0, 2^32), got ", device));
  }
  for (const size_t size : {0u, 63u, 65u}) {
    inference::CudaSharedMemoryRegisterRequest request = CudaRegion("a");
    request.set_raw_handle(std::string(size, 'h'));
    const grpc::Status status = Register(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), StartsWith("raw_handle must have "));
  }
}

TEST_F(KserveCudaTest, InputsLieThereAndOutputsDoNot) {
  ASSERT_TRUE(Register(CudaRegion("device")).ok());
  inference::ModelInferRequest request = Request({1, 2, 3, 9, 8, 7}, 2);
  auto& seed = *request.add_inputs();
  seed.set_name("seed");
  seed.set_datatype("UINT32");
  seed.add_shape(2);
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(&Values()[6]), 8);
  request.add_outputs()->set_name("token_ids");
  request.add_outputs()->set_name("seed");
  const inference::ModelInferResponse expected = Infer(request);
  request.clear_raw_input_contents();
  Place(*request.mutable_inputs(0), "device", 0, 24);
  Place(*request.mutable_inputs(1), "device", 24, 8);
  const inference::ModelInferResponse response = Infer(request);
  EXPECT_EQ(response.raw_output_contents(0), expected.raw_output_contents(0));
  EXPECT_EQ(response.raw_output_contents(1), expected.raw_output_contents(1));
  Place(*request.mutable_outputs(0), "device", 0, 8);
  const grpc::Status refused = InferStatus(request);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.error_message(), "outputs.token_ids: the server may only read the region");
}

TEST_F(KserveCudaTest, BothKindsShareTheirNamesAndNothingElse) {
  const std::string key = absl::StrCat("/token-sampler-kserve-cuda-test-", getpid());
  const int fd = shm_open(key.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(ftruncate(fd, 64), 0);
  close(fd);
  inference::SystemSharedMemoryRegisterRequest system;
  system.set_name("system");
  system.set_key(key);
  system.set_byte_size(64);
  const auto register_system = [&] {
    return Call(*stub_, &Stub::SystemSharedMemoryRegister, system);
  };
  ASSERT_TRUE(register_system().ok());
  ASSERT_TRUE(Register(CudaRegion("cuda")).ok());
  const grpc::Status taken = Register(CudaRegion("system"));
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(taken.error_message(), HasSubstr("region \"system\""));
  system.set_name("cuda");
  EXPECT_EQ(register_system().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  shm_unlink(key.c_str());

  EXPECT_EQ(Unregister("system").error_code(), grpc::StatusCode::NOT_FOUND);
  inference::SystemSharedMemoryUnregisterRequest end;
  end.set_name("cuda");
  EXPECT_EQ(Call(*stub_, &Stub::SystemSharedMemoryUnregister, end).error_code(),
            grpc::StatusCode::NOT_FOUND);
  ASSERT_EQ(Regions().regions_size(), 1);
  EXPECT_TRUE(Unregister("").ok());
  inference::SystemSharedMemoryStatusResponse left;
  EXPECT_TRUE(Call(*stub_, &Stub::SystemSharedMemoryStatus, {}, left).ok());
  EXPECT_EQ(left.regions_size(), 1);
  EXPECT_EQ(Regions().regions_size(), 0);
}

}  // namespace
}  // namespace token_sampler
