// The Open Inference Protocol over a real channel: answers, the same tokens as the native call,
// streams, and what it says of itself.

#include "server/kserve/kserve_service.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/reference_sampler.h"
#include "server/kserve/sampler_model.h"
#include "server/server.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using InferStream =
    grpc::ClientReaderWriter<inference::ModelInferRequest, inference::ModelStreamInferResponse>;

constexpr char kNoModel[] = "no model \"other\": this server's is \"sampler\"";

template <typename Element>
std::vector<Element> Elements(const std::string& raw) {
  std::vector<Element> elements(raw.size() / sizeof(Element));
  std::memcpy(elements.data(), raw.data(), raw.size());
  return elements;
}

inference::ModelInferRequest Request(const std::vector<float>& logits, int64_t rows,
                                     const std::string& id = "") {
  inference::ModelInferRequest request;
  request.set_model_name("sampler");
  request.set_id(id);
  auto& input = *request.add_inputs();
  input.set_name("logits");
  input.set_datatype("FP32");
  input.add_shape(rows);
  input.add_shape(static_cast<int64_t>(logits.size()) / rows);
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(logits.data()),
                                           logits.size() * sizeof(float));
  return request;
}

// A request whose rows' tokens are `step` with a gated sampler.
inference::ModelInferRequest AtStep(int64_t step) {
  inference::ModelInferRequest request = Request({1, 2}, 1, std::to_string(step));
  (*request.mutable_parameters())["step"].set_int64_param(step);
  return request;
}

class KserveTest : public ::testing::Test {
 protected:
  explicit KserveTest(Sampler& sampler, const std::string& regions = "off")
      : server_(*Server::Start(Options(regions), sampler)),
        channel_(grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials())),
        stub_(inference::GRPCInferenceService::NewStub(channel_)) {}

  static ServerOptions Options(const std::string& regions) {
    ServerOptions options;
    options.regions.kinds = regions;
    options.listen = {"127.0.0.1:0"};
    return options;
  }

  inference::ModelInferResponse Infer(const inference::ModelInferRequest& request) {
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  grpc::Status InferStatus(const inference::ModelInferRequest& request) {
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    return stub_->ModelInfer(&context, request, &response);
  }

  bool Ready() {
    grpc::ClientContext contexts[2];
    inference::ServerReadyResponse server;
    inference::ModelReadyResponse model;
    inference::ModelReadyRequest request;
    request.set_name("sampler");
    EXPECT_TRUE(stub_->ServerReady(&contexts[0], {}, &server).ok());
    EXPECT_TRUE(stub_->ModelReady(&contexts[1], request, &model).ok());
    EXPECT_EQ(server.ready(), model.ready());
    return model.ready();
  }

  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
};

struct WithReference {
  std::unique_ptr<Sampler> sampler = CreateReferenceSampler();
};

class KserveSamplingTest : private WithReference, public KserveTest {
 protected:
  KserveSamplingTest() : KserveTest(*sampler) {}
};

class KserveRegionTest : private WithReference, public KserveTest {
 protected:
  static constexpr size_t kSize = 4096;

  KserveRegionTest() : KserveTest(*sampler, "system") {
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

  inference::SystemSharedMemoryStatusResponse Regions() {
    grpc::ClientContext context;
    inference::SystemSharedMemoryStatusResponse regions;
    EXPECT_TRUE(stub_->SystemSharedMemoryStatus(&context, {}, &regions).ok());
    return regions;
  }

  // Points a tensor at shared memory.
  template <typename Tensor>
  static void Place(Tensor& tensor, const std::string& region, int64_t offset, int64_t byte_size) {
    auto& parameters = *tensor.mutable_parameters();
    parameters["shared_memory_region"].set_string_param(region);
    parameters["shared_memory_byte_size"].set_int64_param(byte_size);
    if (offset != 0) parameters["shared_memory_offset"].set_int64_param(offset);
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
  EXPECT_THAT(response.raw_output_contents(2), HasSubstr("got nan"));
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
  EXPECT_THAT(
      status.error_message(),
      HasSubstr(
          "outputs.token_ids of 2 rows and up to 10000000 columns could hold 20000000 elements"));
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
  EXPECT_THAT(answers, ElementsAre(std::pair("first", ""), std::pair("bad", kNoModel),
                                   std::pair("last", "")));
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
    EXPECT_EQ(status.error_message(), kNoModel);
  }
  inference::ModelReadyRequest of_ready;
  of_ready.set_name("other");
  inference::ModelReadyResponse ready;
  ASSERT_TRUE(stub_->ModelReady(&contexts[3], of_ready, &ready).ok());
  EXPECT_FALSE(ready.ready());
}

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
    // The contents that are left are those of the other input.
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
    EXPECT_EQ(refusal("other", 0, 8, output).error_code(), grpc::StatusCode::NOT_FOUND);
    for (const auto& [offset, size] :
         {std::pair{4089l, 8l}, {kMax, 8l}, {0l, kMax}, {kMax, kMax}}) {
      EXPECT_EQ(refusal("whole", offset, size, output).error_code(),
                grpc::StatusCode::OUT_OF_RANGE);
    }
  }
  EXPECT_THAT(refusal("whole", 0, 12, false).error_message(),
              HasSubstr("inputs.logits must have 8 bytes for [1, 2] elements of FP32, got 12"));
  EXPECT_THAT(refusal("whole", 0, 3, true).error_message(),
              HasSubstr("shared_memory_byte_size must be at least the 4 bytes of the output"));
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
  EXPECT_EQ(Register("a").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  const auto regions = Regions().regions();
  ASSERT_EQ(regions.size(), 2u);
  EXPECT_EQ(regions.at("a").key(), key_);
  EXPECT_EQ(regions.at("a").offset(), 8u);
  EXPECT_EQ(regions.at("a").byte_size(), 64u);
  const auto forget = [&](const std::string& name) {
    grpc::ClientContext context;
    inference::SystemSharedMemoryUnregisterRequest request;
    request.set_name(name);
    inference::SystemSharedMemoryUnregisterResponse response;
    return stub_->SystemSharedMemoryUnregister(&context, request, &response).error_code();
  };
  grpc::ClientContext context;
  inference::CudaSharedMemoryUnregisterResponse cuda;
  EXPECT_TRUE(stub_->CudaSharedMemoryUnregister(&context, {}, &cuda).ok());
  EXPECT_EQ(forget("a"), grpc::StatusCode::OK);
  EXPECT_EQ(forget("a"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Regions().regions_size(), 1);
  EXPECT_EQ(forget(""), grpc::StatusCode::OK);
  EXPECT_EQ(Regions().regions_size(), 0);
}

TEST_F(KserveRegionTest, SaysThatItHasSharedMemory) {
  grpc::ClientContext context;
  inference::ServerMetadataResponse metadata;
  ASSERT_TRUE(stub_->ServerMetadata(&context, {}, &metadata).ok());
  EXPECT_THAT(metadata.extensions(), Contains("system_shared_memory"));
  EXPECT_THAT(metadata.extensions(), Not(Contains("cuda_shared_memory")));
}

// Clients forget all regions before they register theirs, whether the server has any or not.
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
  while (server_->counters().waiting < 1) std::this_thread::yield();
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
  while (server_->counters().waiting < 1) std::this_thread::yield();
  context.TryCancel();
  while (server_->counters().dropped < 1) std::this_thread::yield();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  gated.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_THAT(gated.batch_rows(), ElementsAre(1));
}

// A stream that waits for requests would hold up the server's end until the timeout.
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
