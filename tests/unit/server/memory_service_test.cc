// Tests that memory is refused to callers before it is allocated, and given back when the call is
// over, whether or not its answer is read.

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "inference/grpc_inference_service.grpc.pb.h"
#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "tests/testing/eventually.h"
#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kBudget = uint64_t{16} << 20;
constexpr uint64_t kMostAnswer = uint64_t{1} << 20;
constexpr uint32_t kVocab = 100;

class MemoryServiceTest : public ::testing::Test {
 protected:
  MemoryServiceTest() : sampler_(CreateReferenceSampler()) {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.memory_budget = kBudget;
    options.request.max_response_bytes = kMostAnswer;
    server_ = *Server::Start(options, *sampler_);
    channel_ = grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials());
    stub_ = v1::TokenSampler::NewStub(channel_);
  }

  // Makes a unary call of any method with any bytes.
  grpc::Status Call(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel_);
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    grpc::Status status;
    stub.UnaryCall(&context, method, {}, &request, &response, [&](grpc::Status got) {
      const std::lock_guard<std::mutex> lock(mutex);
      status = std::move(got);
      done = true;
      ended.notify_one();
    });
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [&] { return done; });
    return status;
  }

  // gRPC finishes a call a moment after its caller has the answer.
  void AwaitNothingHeld() {
    EXPECT_TRUE(Eventually([this] { return server_->ledger().used() == 0; }));
  }

  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::TokenSampler::Stub> stub_;
};

// Makes a request with a row whose answer has kVocab floats per draw.
v1::SampleRequest RelaxedRequest(uint32_t draws) {
  v1::SampleRequest request;
  request.mutable_tensor()->set_dtype(v1::DATA_TYPE_FLOAT32);
  request.mutable_tensor()->set_rows(1);
  request.mutable_tensor()->set_vocab(kVocab);
  request.mutable_tensor()->set_data(std::string(kVocab * sizeof(float), '\0'));
  v1::SamplingParams& params = *request.add_params();
  params.set_num_samples(draws);
  params.set_replacement(true);
  request.mutable_outputs()->set_gumbel_softmax(1.0);
  return request;
}

TEST_F(MemoryServiceTest, BytesThatAreNoMessageAreInvalidInEveryMethodThatSamples) {
  for (const char* method :
       {"/token_sampler.v1.TokenSampler/Sample", "/token_sampler.v1.TokenSampler/VerifyDraft",
        "/token_sampler.v1.TokenSampler/Describe", "/inference.GRPCInferenceService/ModelInfer"}) {
    const grpc::Status status = Call(method, "\x0a\x7f");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("Request")) << method;
  }
}

TEST_F(MemoryServiceTest, ServerInfoTellsTheLimits) {
  v1::GetServerInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.max_response_bytes(), kMostAnswer);
  EXPECT_EQ(info.memory_budget_bytes(), kBudget);
}

TEST_F(MemoryServiceTest, EmptyParametersAreNotMadeIntoMessages) {
  v1::SampleRequest request = RelaxedRequest(1);
  for (int i = 0; i < 100'000; ++i) request.add_params();
  const std::string bytes = request.SerializeAsString();
  const grpc::Status status = Call("/token_sampler.v1.TokenSampler/Sample", bytes);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("params "));
  AwaitNothingHeld();
  EXPECT_LT(server_->ledger().peak(), 2 * bytes.size());
}

TEST_F(MemoryServiceTest, ARequestBeyondTheBudgetIsRefusedWithATimeToTryAgain) {
  v1::SampleRequest request = RelaxedRequest(1);
  for (int i = 0; i < 3'000'000; ++i) request.mutable_keys()->add_seeds(1);
  v1::SampleResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub_->Sample(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("--memory-budget"));
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
  AwaitNothingHeld();
  EXPECT_LE(server_->ledger().peak(), kBudget);
}

TEST_F(MemoryServiceTest, AnAnswerThatCouldBeTooLargeIsRefusedBeforeItIsSampled) {
  v1::SampleResponse response;
  grpc::ClientContext small;
  ASSERT_TRUE(stub_->Sample(&small, RelaxedRequest(1000), &response).ok());
  EXPECT_EQ(response.details(0).gumbel_softmax_size(), 1000 * int{kVocab});
  const uint64_t rows = server_->counters().rows;
  grpc::ClientContext large;
  const grpc::Status status = stub_->Sample(&large, RelaxedRequest(3000), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("--max-response-bytes"));
  EXPECT_EQ(server_->counters().rows, rows);
  AwaitNothingHeld();
}

TEST_F(MemoryServiceTest, AnAnswerThatIsNotReadCountsUntilItsCallIsOver) {
  constexpr uint32_t kWideVocab = 200'000;
  constexpr uint64_t kLeast = kWideVocab * sizeof(float);  // of the answer
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // flow control lets 64 KiB through
  auto stub = v1::TokenSampler::NewStub(grpc::CreateCustomChannel(
      server_->addresses()[0], grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  auto stream = stub->SampleStream(&context);
  v1::SampleStreamRequest open;
  open.mutable_open()->set_vocab(kWideVocab);
  open.mutable_open()->add_sequences()->set_sequence_id(1);
  v1::SampleStreamResponse opened;
  ASSERT_TRUE(stream->Write(open) && stream->Read(&opened));
  ASSERT_EQ(opened.status_code(), 0u) << opened.status_message();
  v1::SampleStreamRequest step;
  step.mutable_step()->add_sequence_ids(1);
  v1::Tensor& tensor = *step.mutable_step()->mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(1);
  tensor.set_vocab(kWideVocab);
  tensor.set_data(std::string(kWideVocab * sizeof(float), '\0'));
  step.mutable_step()->mutable_outputs()->set_gumbel_softmax(1.0);
  ASSERT_TRUE(stream->Write(step));
  // First the most that sampling can take is held, then the size of the answer.
  ASSERT_TRUE(Eventually([this] {
    const uint64_t held = server_->ledger().used(Account::kAnswers);
    return held >= kLeast && held <= kLeast + 1000;
  }));
  EXPECT_EQ(server_->ledger().used(Account::kRequests), 0u);
  context.TryCancel();
  AwaitNothingHeld();
}

}  // namespace
}  // namespace token_sampler
