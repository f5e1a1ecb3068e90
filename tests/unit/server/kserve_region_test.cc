// Tests shared memory through the Open Inference Protocol: inputs and outputs in it, and the calls
// that register and unregister it.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/kserve_fixture.h"

namespace token_sampler {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class KserveRegionTest : private WithReference, public KserveTest {
 protected:
  static constexpr size_t kSize = 4096;

  KserveRegionTest() : KserveTest(*sampler, {.kinds = "system"}) {
    const int fd = shm_open(key_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(ftruncate(fd, kSize), 0);
    memory_ = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
  }
  ~KserveRegionTest() override {
    munmap(memory_, kSize);
    shm_unlink(key_.c_str());
  }

  grpc::Status Register(const std::string& name, uint64_t offset = 0, uint64_t byte_size = kSize) {
    grpc::ClientContext context;
    inference::SystemSharedMemoryRegisterRequest request;
    request.set_name(name);
    request.set_key(key_);
    request.set_offset(offset);
    request.set_byte_size(byte_size);
    inference::SystemSharedMemoryRegisterResponse response;
    return stub_->SystemSharedMemoryRegister(&context, request, &response);
  }

  // Returns DEADLINE_EXCEEDED instead of waiting for ever.
  grpc::StatusCode Unregister(const std::string& name) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    inference::SystemSharedMemoryUnregisterRequest request;
    request.set_name(name);
    inference::SystemSharedMemoryUnregisterResponse response;
    return stub_->SystemSharedMemoryUnregister(&context, request, &response).error_code();
  }

  inference::SystemSharedMemoryStatusResponse Regions() {
    grpc::ClientContext context;
    inference::SystemSharedMemoryStatusResponse regions;
    EXPECT_TRUE(stub_->SystemSharedMemoryStatus(&context, {}, &regions).ok());
    return regions;
  }

  // Moves input i, with its raw contents, into the memory.
  void MoveInput(inference::ModelInferRequest& request, int i, const std::string& region,
                 int64_t offset) {
    const std::string data = request.raw_input_contents(i);
    std::memcpy(memory_ + offset, data.data(), data.size());
    request.mutable_raw_input_contents()->DeleteSubrange(i, 1);
    Place(*request.mutable_inputs(i), region, offset, static_cast<int64_t>(data.size()));
  }

  const std::string key_ = absl::StrCat("/token-sampler-kserve-test-", getpid());
  char* memory_ = nullptr;
};

TEST_F(KserveRegionTest, ReadsInputsAndWritesOutputs) {
  ASSERT_TRUE(Register("whole").ok());
  ASSERT_TRUE(Register("part", 1000, 1000).ok());
  inference::ModelInferRequest request = Request({1, 2, 3, 9, 8, 7}, 2, "id");
  auto& seeds = *request.add_inputs();
  seeds.set_name("seed");
  seeds.set_datatype("INT64");
  seeds.add_shape(2);
  seeds.add_shape(1);
  const int64_t values[] = {5, 6};
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(values), sizeof(values));
  for (const char* name : {"token_ids", "seed", "message"}) request.add_outputs()->set_name(name);
  const inference::ModelInferResponse expected = Infer(request);

  MoveInput(request, 0, "whole", 100);
  Place(*request.mutable_outputs(0), "part", 8, 8);
  Place(*request.mutable_outputs(2), "whole", 3000, 100);
  for (const bool all : {false, true}) {
    // The remaining contents belong to the other input.
    if (all) {
      std::memcpy(memory_ + 200, values, sizeof(values));
      request.clear_raw_input_contents();
      Place(*request.mutable_inputs(1), "whole", 200, sizeof(values));
    }
    std::memset(memory_ + 1000, 0, 1000);
    const inference::ModelInferResponse response = Infer(request);
    ASSERT_EQ(response.raw_output_contents_size(), 3);
    EXPECT_EQ(response.raw_output_contents(0), "");
    EXPECT_EQ(std::string(memory_ + 1008, 8), expected.raw_output_contents(0));
    EXPECT_EQ(response.raw_output_contents(1), expected.raw_output_contents(1));
    EXPECT_EQ(std::string(memory_ + 3000, 8), expected.raw_output_contents(2));
    const auto& parameters = response.outputs(0).parameters();
    EXPECT_EQ(parameters.at("shared_memory_region").string_param(), "part");
    EXPECT_EQ(parameters.at("shared_memory_offset").int64_param(), 8);
    EXPECT_EQ(parameters.at("shared_memory_byte_size").int64_param(), 8);
    EXPECT_EQ(response.outputs(1).parameters_size(), 0);
  }
}

TEST_F(KserveRegionTest, RefusesWhatLiesOutside) {
  ASSERT_TRUE(Register("whole").ok());
  const auto refusal = [&](const std::string& region, int64_t offset, int64_t size, bool output) {
    inference::ModelInferRequest request = Request({1, 2}, 1);
    if (output) {
      request.add_outputs()->set_name("token_ids");
      Place(*request.mutable_outputs(0), region, offset, size);
    } else {
      request.clear_raw_input_contents();
      Place(*request.mutable_inputs(0), region, offset, size);
    }
    return InferStatus(request);
  };
  EXPECT_TRUE(refusal("whole", 4088, 8, false).ok());
  EXPECT_TRUE(refusal("whole", 4092, 4, true).ok());
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const bool output : {false, true}) {
    const std::string field = output ? "outputs.token_ids" : "inputs.logits";
    const grpc::Status unknown = refusal("other", 0, 8, output);
    EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(unknown.error_message(), StartsWith(field + ": no region \"other\""));
    EXPECT_THAT(refusal("whole", 4089, 8, output).error_message(),
                StartsWith(field + ": 1 row of 8 bytes"));
    for (const auto& [offset, size] :
         {std::pair{4089l, 8l}, {kMax, 8l}, {0l, kMax}, {kMax, kMax}}) {
      EXPECT_EQ(refusal("whole", offset, size, output).error_code(),
                grpc::StatusCode::OUT_OF_RANGE);
    }
  }
  EXPECT_THAT(refusal("whole", 0, 12, false).error_message(), StartsWith("inputs.logits "));
  EXPECT_THAT(refusal("whole", 0, 3, true).error_message(),
              StartsWith("outputs.token_ids.parameters.shared_memory_byte_size "));
}

// With an error and outputs, the client would have to guess which outputs are valid.
TEST_F(KserveRegionTest, AFailedAnswerOfAStreamHasNoOutputs) {
  ASSERT_TRUE(Register("whole").ok());
  inference::ModelInferRequest request = Request({1, 2}, 1, "half");
  request.add_outputs()->set_name("token_ids");
  request.add_outputs()->set_name("seed");
  Place(*request.mutable_outputs(1), "whole", 0, 7);
  grpc::ClientContext context;
  const std::unique_ptr<InferStream> stream = stub_->ModelStreamInfer(&context);
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(),
            "outputs.seed.parameters.shared_memory_byte_size must be at least the 8 bytes of the "
            "output, got 7");
  EXPECT_EQ(response.infer_response().ShortDebugString(), "id: \"half\"");
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(KserveRegionTest, AnObjectThatIsTruncatedIsAnErrorOfTheCall) {
  ASSERT_TRUE(Register("whole").ok());
  inference::ModelInferRequest request = Request({1, 2}, 1);
  MoveInput(request, 0, "whole", 64);
  EXPECT_TRUE(InferStatus(request).ok());
  const int fd = shm_open(key_.c_str(), O_RDWR, 0);
  ASSERT_EQ(ftruncate(fd, 0), 0);
  close(fd);
  const grpc::Status status = InferStatus(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("was truncated"));
}

TEST_F(KserveRegionTest, ListsAndForgetsRegions) {
  ASSERT_TRUE(Register("a", 8, 64).ok());
  ASSERT_TRUE(Register("b").ok());
  const grpc::Status taken = Register("a");
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(taken.error_message(), HasSubstr("region \"a\""));
  const auto regions = Regions().regions();
  ASSERT_EQ(regions.size(), 2u);
  EXPECT_EQ(regions.at("a").key(), key_);
  EXPECT_EQ(regions.at("a").offset(), 8u);
  EXPECT_EQ(regions.at("a").byte_size(), 64u);
  grpc::ClientContext context;
  inference::CudaSharedMemoryUnregisterResponse cuda;
  EXPECT_TRUE(stub_->CudaSharedMemoryUnregister(&context, {}, &cuda).ok());
  EXPECT_EQ(Unregister("a"), grpc::StatusCode::OK);
  EXPECT_EQ(Unregister("a"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Regions().regions_size(), 1);
  EXPECT_EQ(Unregister(""), grpc::StatusCode::OK);
  EXPECT_EQ(Regions().regions_size(), 0);
}

TEST_F(KserveRegionTest, AStreamThatWaitsHoldsNoRegion) {
  ASSERT_TRUE(Register("input").ok());
  ASSERT_TRUE(Register("output", 1000, 1000).ok());
  inference::ModelInferRequest request = Request({1, 2}, 1);
  MoveInput(request, 0, "input", 64);
  request.add_outputs()->set_name("token_ids");
  Place(*request.mutable_outputs(0), "output", 0, 4);
  grpc::ClientContext context;
  const std::unique_ptr<InferStream> stream = stub_->ModelStreamInfer(&context);
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.error_message(), "");
  EXPECT_EQ(Unregister("input"), grpc::StatusCode::OK);
  EXPECT_EQ(Unregister("output"), grpc::StatusCode::OK);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(KserveRegionTest, SaysThatItHasSharedMemory) {
  grpc::ClientContext context;
  inference::ServerMetadataResponse metadata;
  ASSERT_TRUE(stub_->ServerMetadata(&context, {}, &metadata).ok());
  EXPECT_THAT(metadata.extensions(), Contains("system_shared_memory"));
  EXPECT_THAT(metadata.extensions(), Not(Contains("cuda_shared_memory")));
}

}  // namespace
}  // namespace token_sampler
