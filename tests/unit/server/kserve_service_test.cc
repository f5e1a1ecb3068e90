// Tests the Open Inference Protocol over a real channel: answers, the same tokens as the native
// call, streams, and metadata.

#include "server/kserve/kserve_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/kserve/sampler_model.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"
#include "tests/unit/server/kserve_fixture.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

constexpr char kNoModel[] = "no model \"other\"";  // how the error begins

// Makes a request for which a gated sampler returns `step` as every token.
inference::ModelInferRequest AtStep(int64_t step) {
  inference::ModelInferRequest request = Request({1, 2}, 1, std::to_string(step));
  (*request.mutable_parameters())["step"].set_int64_param(step);
  return request;
}

class KserveSamplingTest : private WithReference, public KserveTest {
 protected:
  KserveSamplingTest() : KserveTest(*sampler) {}
};

struct WithGate {
  GatedSampler gated;
};

class KserveQueueTest : protected WithGate, public KserveTest {
 protected:
  KserveQueueTest() : KserveTest(gated) {}
  ~KserveQueueTest() override { gated.Open(); }
};

TEST_F(KserveSamplingTest, DrawsTheSameTokensAsTheNativeCall) {
  constexpr int kRows = 16;
  constexpr int kVocab = 100;
  std::mt19937 random(5);
  std::vector<float> logits(size_t{kRows} * kVocab);
  for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 100;

  v1::SampleRequest native;
  native.mutable_tensor()->set_dtype(v1::DATA_TYPE_FLOAT32);
  native.mutable_tensor()->set_rows(kRows);
  native.mutable_tensor()->set_vocab(kVocab);
  inference::ModelInferRequest request = Request(logits, kRows);
  native.mutable_tensor()->set_data(request.raw_input_contents(0));
  auto& top_k = *request.add_inputs();
  top_k.set_name("top_k");
  top_k.set_datatype("INT32");
  top_k.add_shape(kRows);
  top_k.add_shape(1);
  std::string& ks = *request.add_raw_input_contents();
  for (int32_t row = 0; row < kRows; ++row) {
    const int32_t k = 10 + row;
    ks.append(reinterpret_cast<const char*>(&k), sizeof(k));
    v1::SamplingParams& params = *native.add_params();
    params.set_top_k(static_cast<uint32_t>(k));
    params.set_temperature(0.7);
    params.set_num_samples(3);
    native.add_row_params(static_cast<uint32_t>(row));
  }
  native.mutable_keys()->add_seeds(11);
  native.mutable_outputs()->set_logprobs(true);
  auto& parameters = *request.mutable_parameters();
  parameters["temperature"].set_double_param(0.7);
  parameters["num_samples"].set_int64_param(3);
  parameters["seed"].set_int64_param(11);
  request.add_outputs()->set_name("token_ids");
  request.add_outputs()->set_name("logprobs");

  grpc::ClientContext context;
  v1::SampleResponse expected;
  ASSERT_TRUE(v1::TokenSampler::NewStub(channel_)->Sample(&context, native, &expected).ok());
  const inference::ModelInferResponse response = Infer(request);
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(kRows, 3));
  const auto tokens = Elements<int32_t>(response.raw_output_contents(0));
  EXPECT_EQ(std::vector<uint32_t>(tokens.begin(), tokens.end()),
            std::vector<uint32_t>(expected.token_ids().begin(), expected.token_ids().end()));
  std::vector<float> logprobs;
  for (const v1::RowDetail& detail : expected.details()) {
    logprobs.insert(logprobs.end(), detail.logprobs().begin(), detail.logprobs().end());
  }
  EXPECT_EQ(Elements<float>(response.raw_output_contents(1)), logprobs);
}

TEST_F(KserveSamplingTest, AnswersWithOneRawContentPerOutput) {
  inference::ModelInferRequest request = Request({1, 2, 3, 4}, 2, "call 7");
  (*request.mutable_parameters())["seed"].set_int64_param(5);
  const inference::ModelInferResponse response = Infer(request);
  EXPECT_EQ(response.id(), "call 7");
  EXPECT_EQ(response.model_name(), "sampler");
  EXPECT_EQ(response.model_version(), "1");
  std::vector<std::string> names;
  for (const auto& output : response.outputs()) {
    names.push_back(output.name());
    EXPECT_THAT(output.shape(), ElementsAre(2, 1));
    EXPECT_FALSE(output.has_contents());
  }
  EXPECT_THAT(names, ElementsAre("token_ids", "status", "message", "seed", "step", "stream"));
  ASSERT_EQ(response.raw_output_contents_size(), 6);
  EXPECT_EQ(response.raw_output_contents(2), std::string(8, '\0'));  // two empty texts
  EXPECT_THAT(Elements<uint64_t>(response.raw_output_contents(3)), ElementsAre(5, 5));
}

TEST_F(KserveSamplingTest, AnswersEveryOutputInTheOrderAsked) {
  inference::ModelInferRequest request = Request({1, 2, 3, 4}, 2);
  (*request.mutable_parameters())["mirostat.version"].set_int64_param(2);
  (*request.mutable_parameters())["top_logprobs"].set_int64_param(2);
  (*request.mutable_parameters())["gumbel_softmax"].set_double_param(0.5);
  for (const ModelOutputField& field : OutputFields()) {
    request.add_outputs()->set_name(std::string(field.name));
  }
  const inference::ModelInferResponse response = Infer(request);
  ASSERT_EQ(response.outputs_size(), static_cast<int>(OutputFields().size()));
  ASSERT_EQ(response.raw_output_contents_size(), response.outputs_size());
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& output = response.outputs(i);
    EXPECT_EQ(output.name(), OutputFields()[static_cast<size_t>(i)].name);
    const std::string& raw = response.raw_output_contents(i);
    if (output.datatype() != "FP64" || output.name() == "state.mirostat_mu") continue;
    for (const double value : Elements<double>(raw)) {
      EXPECT_EQ(std::isnan(value), output.name().substr(0, 6) == "state.") << output.name();
    }
  }
}

TEST_F(KserveSamplingTest, KeptSetsAndRelaxedVectorsArePadded) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  inference::ModelInferRequest request = Request({9, 1, 9, 0, 9, 0, nan, 0, 0}, 3);
  (*request.mutable_parameters())["min_p"].set_double_param(0.5);
  (*request.mutable_parameters())["gumbel_softmax"].set_double_param(0.5);
  for (const char* name : {"kept_token_ids", "kept_logprobs", "gumbel_softmax", "token_ids"}) {
    request.add_outputs()->set_name(name);
  }
  const inference::ModelInferResponse response = Infer(request);
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(3, 2));
  EXPECT_THAT(Elements<int32_t>(response.raw_output_contents(0)), ElementsAre(0, 2, 1, -1, -1, -1));
  const auto logprobs = Elements<float>(response.raw_output_contents(1));
  EXPECT_FLOAT_EQ(logprobs[0], -std::log(2.0f));
  EXPECT_EQ(logprobs[2], 0.0f);
  EXPECT_TRUE(std::isnan(logprobs[3]) && std::isnan(logprobs[4]));
  EXPECT_THAT(response.outputs(2).shape(), ElementsAre(3, 3));
  const auto relaxed = Elements<float>(response.raw_output_contents(2));
  const auto tokens = Elements<int32_t>(response.raw_output_contents(3));
  EXPECT_EQ(std::max_element(relaxed.begin(), relaxed.begin() + 3) - relaxed.begin(), tokens[0]);
  EXPECT_TRUE(std::isnan(relaxed[6]));
}

TEST_F(KserveSamplingTest, OneNanRowFailsAlone) {
  inference::ModelInferRequest request =
      Request({1, 2, std::numeric_limits<float>::quiet_NaN(), 2, 1, 2}, 3);
  for (const char* name : {"token_ids", "status", "message", "logprobs", "ranks"}) {
    request.add_outputs()->set_name(name);
  }
  const inference::ModelInferResponse response = Infer(request);
  const auto tokens = Elements<int32_t>(response.raw_output_contents(0));
  EXPECT_GE(tokens[0], 0);
  EXPECT_EQ(tokens[1], -1);
  EXPECT_GE(tokens[2], 0);
  EXPECT_THAT(Elements<int32_t>(response.raw_output_contents(1)),
              ElementsAre(0, v1::ROW_CODE_NAN, 0));
  EXPECT_THAT(response.raw_output_contents(2), HasSubstr("token 0"));
  EXPECT_TRUE(std::isnan(Elements<float>(response.raw_output_contents(3))[1]));
  EXPECT_EQ(Elements<uint32_t>(response.raw_output_contents(4))[1], 0u);
}

TEST_F(KserveSamplingTest, BoundsTheAnswer) {
  inference::ModelInferRequest request = Request({1, 2, 3, 4}, 2);
  auto& draws = *request.add_inputs();
  draws.set_name("num_samples");
  draws.set_datatype("INT32");
  draws.add_shape(2);
  const int32_t counts[] = {1, 10'000'000};
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(counts), sizeof(counts));
  (*request.mutable_parameters())["replacement"].set_bool_param(true);
  const grpc::Status status = InferStatus(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("outputs.token_ids "));
}

TEST_F(KserveSamplingTest, AStreamAnswersInOrderAndSurvivesARefusal) {
  grpc::ClientContext context;
  const std::unique_ptr<InferStream> stream = stub_->ModelStreamInfer(&context);
  inference::ModelInferRequest bad = Request({1, 2}, 1, "bad");
  bad.set_model_name("other");
  stream->Write(Request({1, 2}, 1, "first"));
  stream->Write(bad);
  stream->Write(Request({1, 2}, 1, "last"));
  stream->WritesDone();
  std::vector<std::pair<std::string, std::string>> answers;
  inference::ModelStreamInferResponse response;
  while (stream->Read(&response)) {
    answers.emplace_back(response.infer_response().id(), response.error_message());
  }
  EXPECT_THAT(answers,
              ElementsAre(Pair("first", ""), Pair("bad", StartsWith(kNoModel)), Pair("last", "")));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(KserveSamplingTest, CountsCalls) {
  Infer(Request({1, 2, 3, 4}, 2));
  Infer(Request({1, 2}, 1));
  inference::ModelInferRequest bad = Request({1, 2}, 1);
  bad.set_model_name("other");
  EXPECT_EQ(InferStatus(bad).error_code(), grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext context;
  inference::ModelStatisticsResponse response;
  ASSERT_TRUE(stub_->ModelStatistics(&context, {}, &response).ok());
  ASSERT_EQ(response.model_stats_size(), 1);
  const inference::ModelStatistics& model = response.model_stats(0);
  EXPECT_EQ(model.name(), "sampler");
  EXPECT_EQ(model.inference_count(), 3u);
  EXPECT_EQ(model.execution_count(), 2u);
  EXPECT_EQ(model.inference_stats().success().count(), 2u);
  EXPECT_EQ(model.inference_stats().fail().count(), 1u);
  EXPECT_EQ(model.inference_stats().queue().count(), 2u);
  const auto& spent = model.inference_stats();
  EXPECT_LE(spent.compute_infer().ns() + spent.queue().ns(), spent.success().ns());
}

TEST_F(KserveSamplingTest, DescribesItself) {
  grpc::ClientContext contexts[4];
  inference::ServerLiveResponse live;
  ASSERT_TRUE(stub_->ServerLive(&contexts[0], {}, &live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(stub_->ServerMetadata(&contexts[1], {}, &server).ok());
  EXPECT_EQ(server.name(), "token-sampler");
  EXPECT_THAT(server.extensions(), ElementsAre("model_configuration", "parameters", "statistics"));
  inference::ModelMetadataRequest of_model;
  of_model.set_name("sampler");
  inference::ModelMetadataResponse model;
  ASSERT_TRUE(stub_->ModelMetadata(&contexts[2], of_model, &model).ok());
  EXPECT_EQ(model.inputs(0).name(), "logits");
  EXPECT_THAT(model.inputs(0).shape(), ElementsAre(-1, -1));
  EXPECT_EQ(model.outputs(0).name(), "token_ids");
  inference::ModelConfigRequest of_config;
  of_config.set_name("sampler");
  inference::ModelConfigResponse config;
  ASSERT_TRUE(stub_->ModelConfig(&contexts[3], of_config, &config).ok());
  EXPECT_EQ(config.config().max_batch_size(), 4096);
  EXPECT_FALSE(config.config().model_transaction_policy().decoupled());
  ASSERT_EQ(config.config().input_size(), model.inputs_size());
  EXPECT_FALSE(config.config().input(0).optional());
  EXPECT_TRUE(config.config().input(1).optional());
  EXPECT_THAT(config.config().input(0).dims(), ElementsAre(-1));
}

TEST_F(KserveSamplingTest, KnowsNoOtherModel) {
  grpc::ClientContext contexts[4];
  inference::ModelMetadataRequest of_model;
  of_model.set_name("other");
  inference::ModelMetadataResponse model;
  inference::ModelConfigRequest of_config;
  of_config.set_name("other");
  inference::ModelConfigResponse config;
  inference::ModelStatisticsRequest of_statistics;
  of_statistics.set_name("other");
  inference::ModelStatisticsResponse statistics;
  for (const grpc::Status& status :
       {stub_->ModelMetadata(&contexts[0], of_model, &model),
        stub_->ModelConfig(&contexts[1], of_config, &config),
        stub_->ModelStatistics(&contexts[2], of_statistics, &statistics)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), StartsWith(kNoModel));
  }
  inference::ModelReadyRequest of_ready;
  of_ready.set_name("other");
  inference::ModelReadyResponse ready;
  ASSERT_TRUE(stub_->ModelReady(&contexts[3], of_ready, &ready).ok());
  EXPECT_FALSE(ready.ready());
}

// Clients unregister all regions before they register theirs, even if the server has none.
TEST_F(KserveSamplingTest, HasNoSharedMemoryToForget) {
  grpc::ClientContext contexts[6];
  inference::SystemSharedMemoryUnregisterResponse system;
  EXPECT_TRUE(stub_->SystemSharedMemoryUnregister(&contexts[0], {}, &system).ok());
  inference::CudaSharedMemoryUnregisterResponse cuda;
  EXPECT_TRUE(stub_->CudaSharedMemoryUnregister(&contexts[1], {}, &cuda).ok());
  inference::SystemSharedMemoryStatusResponse regions;
  EXPECT_TRUE(stub_->SystemSharedMemoryStatus(&contexts[2], {}, &regions).ok());
  EXPECT_EQ(regions.regions_size(), 0);
  inference::SystemSharedMemoryUnregisterRequest named;
  named.set_name("mine");
  EXPECT_EQ(stub_->SystemSharedMemoryUnregister(&contexts[3], named, &system).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  inference::SystemSharedMemoryRegisterResponse registered;
  EXPECT_EQ(stub_->SystemSharedMemoryRegister(&contexts[4], {}, &registered).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  inference::CudaSharedMemoryRegisterResponse registered_cuda;
  EXPECT_EQ(stub_->CudaSharedMemoryRegister(&contexts[5], {}, &registered_cuda).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(KserveQueueTest, IsReadyUntilTheDrainBegins) {
  EXPECT_TRUE(Ready());
  server_->BeginDrain();
  EXPECT_FALSE(Ready());
  EXPECT_TRUE(InferStatus(AtStep(1)).ok());
}

TEST_F(KserveQueueTest, ATimeoutEndsTheWait) {
  gated.Close();
  std::future<grpc::Status> running =
      std::async(std::launch::async, [this] { return InferStatus(AtStep(1)); });
  gated.AwaitCalls(1);
  inference::ModelInferRequest request = AtStep(2);
  (*request.mutable_parameters())["timeout"].set_int64_param(1);
  std::future<grpc::Status> waiting =
      std::async(std::launch::async, [&] { return InferStatus(request); });
  EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 1; }));
  gated.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(waiting.get().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(KserveQueueTest, ACancelledStreamLeavesTheQueue) {
  gated.Close();
  std::future<grpc::Status> running =
      std::async(std::launch::async, [this] { return InferStatus(AtStep(1)); });
  gated.AwaitCalls(1);
  grpc::ClientContext context;
  const std::unique_ptr<InferStream> stream = stub_->ModelStreamInfer(&context);
  stream->Write(AtStep(2));
  EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 1; }));
  context.TryCancel();
  EXPECT_TRUE(Eventually([this] { return server_->counters().dropped == 1; }));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  gated.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_THAT(gated.batch_rows(), ElementsAre(1));
}

// A stream that waits for requests would delay the server's end until the timeout.
TEST_F(KserveQueueTest, StreamsEndWithTheServer) {
  grpc::ClientContext contexts[2];
  const std::unique_ptr<InferStream> idle = stub_->ModelStreamInfer(&contexts[0]);
  idle->Write(AtStep(1));
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(idle->Read(&response));
  gated.Close();
  const std::unique_ptr<InferStream> busy = stub_->ModelStreamInfer(&contexts[1]);
  busy->Write(AtStep(2));
  gated.AwaitCalls(2);
  std::future<void> stopped =
      std::async(std::launch::async, [this] { server_->Stop(std::chrono::hours(1)); });
  EXPECT_FALSE(idle->Read(&response));
  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  gated.Open();
  ASSERT_TRUE(busy->Read(&response));
  EXPECT_EQ(response.infer_response().id(), "2");
  EXPECT_FALSE(busy->Read(&response));
  EXPECT_EQ(busy->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stopped.get();
}

}  // namespace
}  // namespace token_sampler
