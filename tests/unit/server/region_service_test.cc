// Tests regions over a real connection: the client library writes rows, the server samples them,
// and owners who misbehave get an error for only that call.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/fake_cuda_region.h"
#include "tests/unit/server/region_fixture.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

TEST_F(RegionServiceTest, GivesTheTokensOfTheInlineCall) {
  Start();
  const std::vector<float> logits = RandomLogits(kRows * kVocab);
  const std::vector<uint32_t> expected = Tokens(Request(client::Float32Matrix(logits, kVocab)));
  constexpr size_t kRowBytes = kVocab * sizeof(float);
  constexpr size_t kStride = kRowBytes + 64;
  auto region = client::SharedRegion::Create(*client_, 4 * kRows * kStride);
  ASSERT_TRUE(region.ok()) << region.status();
  auto* bytes = static_cast<char*>(region->data());
  std::memcpy(bytes + 128, logits.data(), kRows * kRowBytes);
  EXPECT_EQ(Tokens(Request(region->Rows(128, client::DataType::kFloat32, kRows, kVocab))),
            expected);
  for (size_t r = 0; r < kRows; ++r) {
    std::memcpy(bytes + r * kStride, logits.data() + r * kVocab, kRowBytes);
  }
  EXPECT_EQ(Tokens(Request(region->Rows(0, client::DataType::kFloat32, kRows, kVocab, kStride))),
            expected);
}

TEST_F(RegionServiceTest, ServesDescribeVerifyDraftAndStreamsToo) {
  Start();
  const std::vector<float> logits = RandomLogits(kVocab);
  auto region = client::SharedRegion::Create(*client_, kVocab * sizeof(float));
  ASSERT_TRUE(region.ok()) << region.status();
  std::memcpy(region->data(), logits.data(), kVocab * sizeof(float));
  client::SampleRequest request;
  request.matrix = region->Rows(0, client::DataType::kFloat32, 1, kVocab);
  const auto description = client_->Describe(request, 1);
  ASSERT_TRUE(description.ok()) << description.status();
  const auto likeliest =
      static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_EQ(description->stages.at(0).top_logprobs.at(0).token_id, likeliest);

  client::VerifyDraftRequest verify;
  verify.target = request.matrix;
  verify.sequences = {{}};
  verify.params = {{.temperature = 0.0}};
  const auto verified = client_->VerifyDraft(verify);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->sequences.at(0).token_ids.at(0), likeliest);

  grpc::ClientContext context;
  const std::unique_ptr<SampleStream> stream = OpenStream(context);
  const v1::SampleStreamResponse answer = Step(*stream, region->name());
  ASSERT_EQ(answer.status_code(), 0u) << answer.status_message();
  EXPECT_EQ(answer.sampled().token_ids(0), likeliest);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RegionServiceTest, AStreamThatWaitsHoldsNoRegion) {
  Start();
  auto region = client::SharedRegion::Create(*client_, kVocab * sizeof(float));
  ASSERT_TRUE(region.ok()) << region.status();
  grpc::ClientContext context;
  const std::unique_ptr<SampleStream> stream = OpenStream(context);
  ASSERT_EQ(Step(*stream, region->name()).status_code(), 0u);
  EXPECT_EQ(Unregister(region->name()).error_code(), grpc::StatusCode::OK);
  EXPECT_EQ(Step(*stream, region->name()).status_code(), uint32_t{grpc::StatusCode::NOT_FOUND});
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RegionServiceTest, CudaRegionsAreRegisteredAndSampled) {
  const std::vector<float> logits = RandomLogits(kRows * kVocab);
  const std::string handle(64, 'h');
  open_cuda_ = [&](const CudaRegionRequest& request) -> absl::StatusOr<std::shared_ptr<Region>> {
    EXPECT_EQ(request.event, std::string(64, 'e'));
    if (request.handle != handle) return absl::InvalidArgumentError("cuda_handle: no such");
    EXPECT_EQ(request.offset, 4096u);
    EXPECT_EQ(request.byte_size, logits.size() * sizeof(float));
    return std::make_shared<FakeCudaRegion>(logits);
  };
  Start("cuda");
  client::CudaRegion cuda = {.handle = handle,
                             .event = std::string(64, 'e'),
                             .offset = 4096,
                             .byte_size = logits.size() * sizeof(float)};
  EXPECT_TRUE(client_->RegisterRegion("logits", cuda).ok());
  EXPECT_EQ(client_->RegisterRegion("logits", cuda).code(), absl::StatusCode::kAlreadyExists);
  cuda.handle = std::string(64, 'x');
  EXPECT_EQ(client_->RegisterRegion("other", cuda),
            absl::InvalidArgumentError("cuda_handle: no such"));
  v1::RegisterRegionRequest mixed;
  mixed.set_name("other");
  mixed.set_kind(v1::REGION_KIND_SYSTEM);
  mixed.set_cuda_handle(handle);
  grpc::ClientContext mixed_context;
  v1::RegisterRegionResponse response;
  EXPECT_EQ(stub_->RegisterRegion(&mixed_context, mixed, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  grpc::ClientContext context;
  v1::ListRegionsResponse listed;
  ASSERT_TRUE(stub_->ListRegions(&context, {}, &listed).ok());
  ASSERT_EQ(listed.regions_size(), 1);
  EXPECT_EQ(listed.regions(0).kind(), v1::REGION_KIND_CUDA);
  client::SampleRequest in_region = Request({});
  in_region.matrix.rows = kRows;
  in_region.matrix.vocab = kVocab;
  in_region.matrix.region = client::RegionRows{.name = "logits"};
  EXPECT_EQ(Tokens(in_region), Tokens(Request(client::Float32Matrix(logits, kVocab))));
}

TEST_F(RegionServiceTest, RefusesWhatLiesOutside) {
  Start();
  constexpr uint64_t kRowBytes = kVocab * sizeof(float);
  auto region = client::SharedRegion::Create(*client_, kRows * kRowBytes);
  ASSERT_TRUE(region.ok()) << region.status();
  grpc::Status status = Sample(*region, 4, kRows);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(status.error_message(), HasSubstr("tensor.region: 4 rows of 1200 bytes"));
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(Sample(*region, kMax - 3, 1).error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Sample(*region, 0, 2, kMax - 3).error_code(), grpc::StatusCode::OUT_OF_RANGE);
  status = Sample(*region, 2, 1);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "tensor.region.offset must be a multiple of the 4 bytes of a value, got 2");
  status = Sample(*region, 0, 1, kRowBytes - 4);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "tensor.region.row_stride must be at least the 1200 bytes of a row and a multiple of "
            "the 4 bytes of a value, got 1196");
  EXPECT_EQ(Sample(*region, 0, 1, kRowBytes + 2).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RegionServiceTest, AnOwnerWhoTruncatesGetsAnErrorAndTheServerLives) {
  Start();
  auto region = client::SharedRegion::Create(*client_, kRows * kVocab * sizeof(float));
  ASSERT_TRUE(region.ok()) << region.status();
  const int fd = shm_open(absl::StrCat("/", region->name()).c_str(), O_RDWR, 0);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, 10), 0);
  close(fd);
  const grpc::Status status = Sample(*region, 0, kRows);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("was truncated"));
  EXPECT_TRUE(client_->GetServerInfo().ok());
}

TEST_F(RegionServiceTest, ARegionThatIsUnregisteredOrUnlinkedIsAnError) {
  Start();
  std::string name;
  {
    auto region = client::SharedRegion::Create(*client_, kVocab * sizeof(float));
    ASSERT_TRUE(region.ok()) << region.status();
    name = region->name();
    ASSERT_TRUE(std::filesystem::remove("/dev/shm/" + name));
    const grpc::Status status = Sample(*region, 0, 1);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), HasSubstr("was unlinked or replaced"));
    ASSERT_TRUE(client_->UnregisterRegion(name).ok());
    EXPECT_EQ(Sample(*region, 0, 1).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  EXPECT_EQ(client_->UnregisterRegion(name).code(), absl::StatusCode::kNotFound);
}

TEST_F(RegionServiceTest, RegionsEndWithTheirObject) {
  Start();
  std::string name;
  {
    auto region = client::SharedRegion::Create(*client_, 4096);
    ASSERT_TRUE(region.ok()) << region.status();
    name = region->name();
    grpc::ClientContext context;
    v1::ListRegionsResponse listed;
    ASSERT_TRUE(stub_->ListRegions(&context, {}, &listed).ok());
    ASSERT_EQ(listed.regions_size(), 1);
    EXPECT_EQ(listed.regions(0).name(), name);
    EXPECT_EQ(listed.regions(0).byte_size(), 4096u);
    EXPECT_EQ(listed.regions(0).kind(), v1::REGION_KIND_SYSTEM);
  }
  grpc::ClientContext context;
  v1::ListRegionsResponse listed;
  ASSERT_TRUE(stub_->ListRegions(&context, {}, &listed).ok());
  EXPECT_EQ(listed.regions_size(), 0);
  EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + name));
}

TEST_F(RegionServiceTest, ARegionOutlivesItsClient) {
  Start();
  const auto count = [this] {
    grpc::ClientContext context;
    v1::ListRegionsResponse listed;
    EXPECT_TRUE(stub_->ListRegions(&context, {}, &listed).ok());
    return listed.regions_size();
  };
  std::optional<client::SharedRegion> region;
  {
    auto client = client::SamplerClient::Connect(server_->addresses()[0]);
    ASSERT_TRUE(client.ok()) << client.status();
    auto created = client::SharedRegion::Create(*client, kVocab * sizeof(float));
    ASSERT_TRUE(created.ok()) << created.status();
    region.emplace(*std::move(created));
    const client::SamplerClient moved = *std::move(client);
    client::SampleRequest request;
    request.matrix = region->Rows(0, client::DataType::kFloat32, 1, kVocab);
    EXPECT_TRUE(moved.Sample(request).ok());
  }
  EXPECT_EQ(count(), 1);
  region.reset();
  EXPECT_EQ(count(), 0);
}

TEST_F(RegionServiceTest, ACallReadsSoManyBytes) {
  Start();
  // Rows of the largest vocabulary in an object whose pages are not allocated yet.
  constexpr uint32_t kVocabulary = 1u << 24;
  constexpr uint64_t kRowBytes = kVocabulary * sizeof(double);
  const std::string key = absl::StrCat("token-sampler-sparse-", getpid());
  const int fd = shm_open(key.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, 9 * kRowBytes), 0);
  close(fd);
  ASSERT_TRUE(client_->RegisterRegion("sparse", key, 0, 9 * kRowBytes).ok());
  client::SampleRequest request;
  request.matrix.dtype = client::DataType::kFloat64;
  request.matrix.rows = 9;
  request.matrix.vocab = kVocabulary;
  request.matrix.region = client::RegionRows{.name = "sparse"};
  const absl::Status status = client_->Sample(request).status();
  shm_unlink(key.c_str());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "tensor.region must hold at most 1073741824 bytes per call, got 1207959552");
}

TEST_F(RegionServiceTest, AnEmptyNameUnregistersThoseOfTheConnection) {
  Start();
  auto region = client::SharedRegion::Create(*client_, 4096);
  ASSERT_TRUE(region.ok()) << region.status();
  grpc::ClientContext context;
  v1::UnregisterRegionResponse response;
  ASSERT_TRUE(stub_->UnregisterRegion(&context, {}, &response).ok());  // another connection
  EXPECT_TRUE(client_->UnregisterRegion("").ok());
  EXPECT_EQ(client_->UnregisterRegion(region->name()).code(), absl::StatusCode::kNotFound);
}

TEST_F(RegionServiceTest, IsOffUnlessTheServerWasStartedWithIt) {
  Start("off");
  const auto region = client::SharedRegion::Create(*client_, 4096);
  EXPECT_EQ(region.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(region.status().message()), HasSubstr("--shared-memory=system"));
  client::SampleRequest request;
  request.matrix.rows = 1;
  request.matrix.vocab = 10;
  request.matrix.region = client::RegionRows{"a", 0, 0};
  const auto result = client_->Sample(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RegionServiceTest, RegisterRefusesFieldsOfTheOtherKind) {
  Start("all");
  v1::RegisterRegionRequest request;
  request.set_name("a");
  request.set_byte_size(64);
  const auto refused = [&] {
    grpc::ClientContext context;
    v1::RegisterRegionResponse response;
    return stub_->RegisterRegion(&context, request, &response);
  };
  EXPECT_EQ(refused().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused().error_message(), HasSubstr("kind must be"));
  request.set_kind(v1::REGION_KIND_SYSTEM);
  request.set_device(0);
  EXPECT_THAT(refused().error_message(), HasSubstr("must not be set for kind SYSTEM"));
  request.set_kind(v1::REGION_KIND_CUDA);
  request.set_cuda_handle("short");
  EXPECT_THAT(refused().error_message(), HasSubstr("64 bytes"));
  request.set_cuda_handle(std::string(64, 'h'));
  EXPECT_EQ(refused().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  request.set_offset(4);
  EXPECT_EQ(refused().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused().error_message(), "offset must be a multiple of 8 for kind CUDA, got 4");
  request.clear_offset();
  request.set_key("token-sampler-x");
  EXPECT_THAT(refused().error_message(), HasSubstr("key must not be set for kind CUDA"));
}

}  // namespace
}  // namespace token_sampler
