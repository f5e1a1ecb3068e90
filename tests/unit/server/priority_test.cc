// Tests that priorities in a call's metadata or parameters decide the order in which calls are
// sampled.

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "inference/grpc_inference_service.grpc.pb.h"
#include "server/program/server.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;

// The logits of a row of two tokens. The sampler of the test returns the row's step as its token.
std::string Logits() { return std::string(8, '\0'); }

class PriorityTest : public ::testing::Test {
 protected:
  static ServerOptions Options() {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.batcher.max_batch_rows = 1;
    return options;
  }

  ~PriorityTest() override { gated_.Open(); }

  std::shared_ptr<grpc::Channel> Channel() {
    return grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials());
  }

  grpc::Status Sample(uint64_t step, const std::vector<std::string>& priorities) {
    v1::SampleRequest request;
    v1::Tensor& tensor = *request.mutable_tensor();
    tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
    tensor.set_rows(1);
    tensor.set_vocab(2);
    *tensor.mutable_data() = Logits();
    request.mutable_keys()->add_steps(step);
    grpc::ClientContext context;
    for (const std::string& priority : priorities) {
      context.AddMetadata("token-sampler-priority", priority);
    }
    v1::SampleResponse response;
    return v1::TokenSampler::NewStub(Channel())->Sample(&context, request, &response);
  }

  grpc::Status Infer(uint64_t step, int64_t priority) {
    inference::ModelInferRequest request;
    request.set_model_name("sampler");
    inference::ModelInferRequest::InferInputTensor& logits = *request.add_inputs();
    logits.set_name("logits");
    logits.set_datatype("FP32");
    logits.add_shape(1);
    logits.add_shape(2);
    request.add_raw_input_contents(Logits());
    (*request.mutable_parameters())["step"].set_int64_param(static_cast<int64_t>(step));
    (*request.mutable_parameters())["priority"].set_int64_param(priority);
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    return inference::GRPCInferenceService::NewStub(Channel())->ModelInfer(&context, request,
                                                                           &response);
  }

  // Starts a call on its own thread and waits until it is in the queue.
  template <typename Call>
  void Queue(Call call) {
    const uint64_t waiting = server_->counters().waiting;
    calls_.push_back(std::async(std::launch::async, std::move(call)));
    EXPECT_TRUE(Eventually([&] { return server_->counters().waiting == waiting + 1; }));
  }

  GatedSampler gated_;
  std::unique_ptr<Server> server_ = *Server::Start(Options(), gated_);
  std::vector<std::future<grpc::Status>> calls_;
};

TEST_F(PriorityTest, UrgentCallsAreSampledBeforeTheOthersOfTheirClient) {
  gated_.Close();
  calls_.push_back(std::async(std::launch::async, [this] { return Sample(1, {}); }));
  gated_.AwaitCalls(1);
  Queue([this] { return Sample(2, {}); });
  Queue([this] { return Sample(3, {"0"}); });
  Queue([this] { return Infer(4, 0); });
  Queue([this] { return Infer(5, 8); });
  Queue([this] { return Sample(6, {"7"}); });
  Queue([this] { return Infer(7, 1); });
  gated_.Open();
  for (std::future<grpc::Status>& call : calls_) {
    const grpc::Status status = call.get();
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  std::vector<uint64_t> order;
  for (const std::vector<uint64_t>& batch : gated_.batch_steps()) order.push_back(batch[0]);
  // The oldest call was sampled before the urgent ones came.
  EXPECT_THAT(order, ElementsAre(1, 2, 6, 7, 3, 4, 5));
}

TEST_F(PriorityTest, APriorityThatIsNoneIsRefusedByName) {
  const std::string must = "metadata token-sampler-priority must be a whole number in [0, 7], got ";
  for (const std::string value : {"8", "-1", "high", "", "4294967296"}) {
    const grpc::Status status = Sample(1, {value});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(status.error_message(), must + "\"" + value + "\"");
  }
  EXPECT_EQ(Sample(1, {"1", "2"}).error_message(),
            "metadata token-sampler-priority must be given once");
  EXPECT_TRUE(gated_.batch_steps().empty());

  grpc::ClientContext context;
  context.AddMetadata("token-sampler-priority", "9");
  const auto stub = v1::TokenSampler::NewStub(Channel());
  const auto stream = stub->SampleStream(&context);
  v1::SampleStreamResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), must + "\"9\"");
}

}  // namespace
}  // namespace token_sampler
