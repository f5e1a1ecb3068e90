// Tests the server in this process, over a real channel: answers, statuses, health, reflection, its
// end.

#include "server/program/server.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"
#include "tests/testing/statistics.h"
#include "tests/testing/tensors.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::StartsWith;

v1::SampleRequest Request(const std::vector<float>& values, uint32_t rows = 1) {
  v1::SampleRequest request;
  SetTensor(rows, values, *request.mutable_tensor());
  return request;
}

ServerOptions LoopbackOptions() {
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  return options;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// A stream of a service for which Debian does not package generated C++ code.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel), call_(stub_.PrepareCall(&context_, method, &queue_)) {
    call_->StartCall(nullptr);
    Await();
  }

  ~RawStream() {
    context_.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  void Write(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    call_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    Await();
  }

  std::string Read() {
    grpc::ByteBuffer message;
    call_->Read(&message, nullptr);
    Await();
    grpc::Slice slice;
    EXPECT_TRUE(message.DumpToSingleSlice(&slice).ok());
    return {slice.begin(), slice.end()};
  }

 private:
  void Await() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// grpc.health.v1: a request is {1: service}, a response {1: status}.
std::string HealthRequest(const std::string& service) {
  if (service.empty()) return "";
  return std::string("\x0a") + static_cast<char>(service.size()) + service;
}

int ServingStatus(const std::string& response) { return response.size() < 2 ? 0 : response[1]; }

// Returns the serving status of a service, or the negated status code of the call.
int CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  grpc::GenericStub stub(channel);
  const grpc::Slice slice(HealthRequest(service));
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (!status.ok()) return -static_cast<int>(status.error_code());
  grpc::Slice answer;
  EXPECT_TRUE(response.DumpToSingleSlice(&answer).ok());
  return ServingStatus({answer.begin(), answer.end()});
}

constexpr int kServing = 1;
constexpr int kNotServing = 2;

class ServerTest : public ::testing::Test {
 protected:
  explicit ServerTest(ServerOptions options = LoopbackOptions())
      : server_(*Server::Start(options, gated_)),
        channel_(ChannelTo(server_->addresses()[0])),
        stub_(v1::TokenSampler::NewStub(channel_)) {}

  ~ServerTest() override { gated_.Open(); }

  // Makes a call on its own thread.
  std::future<grpc::Status> SampleAsync(grpc::ClientContext* context = nullptr) {
    return std::async(std::launch::async, [this, context] {
      grpc::ClientContext own;
      v1::SampleResponse response;
      return stub_->Sample(context == nullptr ? &own : context, Request({1, 2}), &response);
    });
  }

  static bool HasEnded(const std::future<grpc::Status>& call) {
    return call.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  GatedSampler gated_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::TokenSampler::Stub> stub_;
};

TEST_F(ServerTest, Samples) {
  v1::SampleRequest request = Request({1, 2, 3, 4}, 2);
  request.mutable_keys()->add_steps(40);
  request.mutable_keys()->add_steps(41);
  grpc::ClientContext context;
  v1::SampleResponse response;
  ASSERT_TRUE(stub_->Sample(&context, request, &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAre(40, 41));
}

TEST_F(ServerTest, TellsAboutItself) {
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.backend(), "gated");
  EXPECT_EQ(info.spec_version(), kSpecVersion);
  EXPECT_EQ(info.max_rows(), 4096u);
  EXPECT_GT(info.features_size(), 10);
  ASSERT_EQ(info.fallbacks_size(), 2);
  EXPECT_EQ(info.fallbacks(1).reason(), "outputs");
  EXPECT_EQ(info.fallbacks(1).rows(), 3u);
}

TEST_F(ServerTest, RefusesAMalformedRequestAndGoesOn) {
  v1::SampleRequest request = Request({1, 2});
  request.mutable_tensor()->set_vocab(3);
  grpc::ClientContext context;
  v1::SampleResponse response;
  const grpc::Status status = stub_->Sample(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("tensor.data "));
  EXPECT_TRUE(SampleAsync().get().ok());
}

// Sends bytes that do not parse, and no message at all, to every unary method.
TEST_F(ServerTest, WhatIsNoRequestIsInvalidInEveryMethod) {
  std::vector<const google::protobuf::ServiceDescriptor*> services;
  for (const char* name : {v1::TokenSampler::service_full_name(),
                           inference::GRPCInferenceService::service_full_name()}) {
    services.push_back(google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name));
  }
  int methods = 0;
  for (const google::protobuf::ServiceDescriptor* const service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      if (method.client_streaming()) continue;
      ++methods;
      const std::string path = "/" + service->full_name() + "/" + method.name();
      grpc::Slice bytes(std::string(20, '\xff'));
      grpc::ByteBuffer response;
      grpc::ClientContext context;
      const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer>(
          channel_.get(),
          grpc::internal::RpcMethod(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC), &context,
          grpc::ByteBuffer(&bytes, 1), &response);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << path;
      EXPECT_THAT(status.error_message(), HasSubstr(method.input_type()->full_name())) << path;
    }
  }
  EXPECT_EQ(methods, 21);
  EXPECT_TRUE(SampleAsync().get().ok());
}

TEST_F(ServerTest, DescribesARowStageByStage) {
  v1::DescribeRequest request;
  *request.mutable_request() = Request({1, 2, 3});
  request.mutable_request()->add_params()->set_top_k(2);
  request.set_top_n(1);
  grpc::ClientContext context;
  v1::DescribeResponse response;
  ASSERT_TRUE(stub_->Describe(&context, request, &response).ok());
  ASSERT_EQ(response.distributions_size(), 3);
  EXPECT_EQ(response.distributions(0).stage(), "input");
  EXPECT_EQ(response.distributions(2).stage(), "top_k");
  EXPECT_EQ(response.distributions(2).kept_count(), 2u);
  EXPECT_EQ(response.distributions(2).top_token_ids_size(), 1);
  EXPECT_GT(response.distributions(2).removed_mass(), 0);
  EXPECT_EQ(response.row_statuses_size(), 0);
}

TEST_F(ServerTest, DescribesOneRowAlone) {
  v1::DescribeRequest request;
  *request.mutable_request() = Request({1, 2, 3, 4}, 2);
  grpc::ClientContext context;
  v1::DescribeResponse response;
  const grpc::Status status = stub_->Describe(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("request.tensor.rows "));
}

TEST_F(ServerTest, HasNoRegionsUnlessItIsTold) {
  grpc::ClientContext contexts[3];
  v1::RegisterRegionRequest request;
  request.set_name("a");
  request.set_kind(v1::REGION_KIND_SYSTEM);
  v1::RegisterRegionResponse registered;
  v1::UnregisterRegionResponse unregistered;
  v1::ListRegionsResponse regions;
  for (const grpc::Status& status : {stub_->RegisterRegion(&contexts[0], request, &registered),
                                     stub_->UnregisterRegion(&contexts[1], {}, &unregistered),
                                     stub_->ListRegions(&contexts[2], {}, &regions)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), HasSubstr("--shared-memory=system"));
  }
}

TEST_F(ServerTest, AFailedDeviceIsInternal) {
  gated_.FailNext(absl::InternalError("the device is gone"));
  const grpc::Status status = SampleAsync().get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "the device is gone");
  EXPECT_TRUE(SampleAsync().get().ok());
}

TEST_F(ServerTest, ACancelledCallLeavesTheQueue) {
  gated_.Close();
  std::future<grpc::Status> first = SampleAsync();
  gated_.AwaitCalls(1);
  grpc::ClientContext context;
  std::future<grpc::Status> second = SampleAsync(&context);
  context.TryCancel();
  EXPECT_EQ(second.get().error_code(), grpc::StatusCode::CANCELLED);
  gated_.Open();
  EXPECT_TRUE(first.get().ok());
}

TEST_F(ServerTest, ACallPastItsDeadlineIsNotSampled) {
  gated_.Close();
  std::future<grpc::Status> first = SampleAsync();
  gated_.AwaitCalls(1);
  // gRPC keeps deadlines by no clock but the real one. On a slow machine a call may end before it
  // is in the queue, which proves nothing: the next one has twice the time.
  int milliseconds = 10;
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    // A client that knew the deadline would end the call by itself.
    context.AddMetadata("grpc-timeout", absl::StrCat(milliseconds *= 2, "m"));
    EXPECT_EQ(SampleAsync(&context).get().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    // The caller may hear of the end before the queue does.
    EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 0; }));
    return server_->counters().dropped > 0;
  }));
  gated_.Open();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(SampleAsync().get().ok());
  EXPECT_THAT(gated_.batch_rows(), ElementsAre(1, 1));
}

TEST_F(ServerTest, ACallInFlightFinishesWhenTheServerStops) {
  gated_.Close();
  std::future<grpc::Status> call = SampleAsync();
  gated_.AwaitCalls(1);
  std::future<void> stopped =
      std::async(std::launch::async, [this] { server_->Stop(std::chrono::hours(1)); });
  // Once the server accepts no more calls, it tells its clients so. A late call that it accepted
  // would wait at the gate.
  EXPECT_TRUE(Eventually([this] { return channel_->GetState(false) != GRPC_CHANNEL_READY; }));
  std::future<grpc::Status> late = SampleAsync();
  EXPECT_TRUE(Eventually([&] { return HasEnded(late); }));
  gated_.Open();
  EXPECT_EQ(late.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(call.get().ok());
  stopped.get();
  EXPECT_EQ(SampleAsync().get().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, HealthIsServingUntilTheDrainBegins) {
  EXPECT_EQ(CheckHealth(channel_, ""), kServing);
  EXPECT_EQ(CheckHealth(channel_, "token_sampler.v1.TokenSampler"), kServing);
  EXPECT_EQ(CheckHealth(channel_, "nobody"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  server_->BeginDrain();
  EXPECT_EQ(CheckHealth(channel_, ""), kNotServing);
  EXPECT_EQ(CheckHealth(channel_, "token_sampler.v1.TokenSampler"), kNotServing);
  EXPECT_TRUE(SampleAsync().get().ok());
}

TEST_F(ServerTest, HealthCanBeWatched) {
  RawStream watch(channel_, "/grpc.health.v1.Health/Watch");
  watch.Write(HealthRequest("token_sampler.v1.TokenSampler"));
  EXPECT_EQ(ServingStatus(watch.Read()), kServing);
  server_->BeginDrain();
  EXPECT_EQ(ServingStatus(watch.Read()), kNotServing);
}

TEST_F(ServerTest, ReflectionListsTheService) {
  RawStream reflection(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  reflection.Write(std::string("\x3a\x00", 2));  // {7: list_services ""}
  const std::string services = reflection.Read();
  EXPECT_THAT(services, HasSubstr("token_sampler.v1.TokenSampler"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
}

class FullQueueTest : public ServerTest {
 protected:
  static ServerOptions Options() {
    ServerOptions options = LoopbackOptions();
    options.batcher.max_queued_rows = 1;
    options.max_message_bytes = 4096;
    return options;
  }
  FullQueueTest() : ServerTest(Options()) {}
};

TEST_F(FullQueueTest, RefusesWithAPushback) {
  gated_.Close();
  std::future<grpc::Status> running = SampleAsync();
  gated_.AwaitCalls(1);
  std::future<grpc::Status> waiting = SampleAsync();
  EXPECT_TRUE(Eventually([this] { return server_->counters().waiting == 1; }));
  grpc::ClientContext context;
  std::future<grpc::Status> refused = SampleAsync(&context);
  EXPECT_TRUE(Eventually([&] { return HasEnded(refused); }));
  gated_.Open();
  EXPECT_EQ(refused.get().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waiting.get().ok());
}

TEST_F(FullQueueTest, RefusesAMessageBeyondTheLimit) {
  grpc::ClientContext context;
  v1::SampleResponse response;
  const grpc::Status status =
      stub_->Sample(&context, Request(std::vector<float>(2000, 1.0f)), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// A server with the reference sampler, to test the distribution of tokens in answers.
class SamplingServerTest : public ::testing::Test {
 protected:
  std::vector<uint64_t> Draw(v1::InputKind kind) {
    v1::SampleRequest request = Request({1, 2, 5});
    request.set_input_kind(kind);
    request.add_params()->set_num_samples(10'000);
    request.mutable_params(0)->set_replacement(true);
    request.mutable_keys()->add_seeds(20);
    grpc::ClientContext context;
    v1::SampleResponse response;
    EXPECT_TRUE(stub_->Sample(&context, request, &response).ok());
    std::vector<uint64_t> counts(3);
    for (const uint32_t id : response.token_ids()) ++counts.at(id);
    return counts;
  }

  std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
  std::unique_ptr<Server> server_ = *Server::Start(LoopbackOptions(), *sampler_);
  std::unique_ptr<v1::TokenSampler::Stub> stub_ =
      v1::TokenSampler::NewStub(ChannelTo(server_->addresses()[0]));
};

constexpr double kCritical2 = 27.63;  // 2 degrees of freedom; exceeded once in 10^6

TEST_F(SamplingServerTest, WeightsAreDrawnInProportion) {
  const std::vector<uint64_t> counts = Draw(v1::INPUT_KIND_WEIGHTS);
  EXPECT_LT(testing::ChiSquare(counts, {.125, .25, .625}), kCritical2);
  EXPECT_GT(testing::ChiSquare(counts, {.16, .25, .59}), kCritical2);
}

TEST_F(SamplingServerTest, LogitsAreDrawnAsTheirSoftmax) {
  const std::vector<uint64_t> counts = Draw(v1::INPUT_KIND_LOGITS);
  const double total = std::exp(-4.0) + std::exp(-3.0) + 1;
  EXPECT_LT(testing::ChiSquare(counts, {std::exp(-4.0) / total, std::exp(-3.0) / total, 1 / total}),
            kCritical2);
  EXPECT_GT(testing::ChiSquare(counts, {.024, .064, .912}), kCritical2);
}

// Draws one token per step, like engines do, with the CPU sampler.
TEST(CpuSamplingServerTest, EachStepDrawsFromTheSoftmax) {
  constexpr uint32_t kVocab = 100;
  constexpr uint32_t kRowsPerCall = 500;
  constexpr uint64_t kCalls = 40;
  constexpr double kCritical99 = 180.79;  // 99 degrees of freedom; exceeded once in 10^6
  std::vector<float> row;
  for (uint32_t id = 0; id < kVocab; ++id) row.push_back(.3f * static_cast<float>(id * 7 % 10));
  std::vector<float> rows;
  for (uint32_t r = 0; r < kRowsPerCall; ++r) rows.insert(rows.end(), row.begin(), row.end());
  const auto softmax = [&](double temperature) {
    std::vector<double> probabilities;
    double total = 0;
    for (const float logit : row) total += std::exp(logit / temperature);
    for (const float logit : row) probabilities.push_back(std::exp(logit / temperature) / total);
    return probabilities;
  };

  const std::unique_ptr<Sampler> sampler = *CreateCpuSampler({.threads = 2});
  const std::unique_ptr<Server> server = *Server::Start(LoopbackOptions(), *sampler);
  const auto stub = v1::TokenSampler::NewStub(ChannelTo(server->addresses()[0]));
  std::vector<uint64_t> counts(kVocab);
  for (uint64_t call = 0; call < kCalls; ++call) {
    v1::SampleRequest request = Request(rows, kRowsPerCall);
    request.mutable_keys()->add_seeds(99);
    for (uint32_t r = 0; r < kRowsPerCall; ++r) {
      request.mutable_keys()->add_steps(call * kRowsPerCall + r);
    }
    grpc::ClientContext context;
    v1::SampleResponse response;
    ASSERT_TRUE(stub->Sample(&context, request, &response).ok());
    for (const uint32_t id : response.token_ids()) ++counts.at(id);
  }
  EXPECT_LT(testing::ChiSquare(counts, softmax(1)), kCritical99);
  EXPECT_GT(testing::ChiSquare(counts, softmax(1.1)), kCritical99);
}

TEST_F(SamplingServerTest, OneNanRowAmongGoodOnesFailsAlone) {
  v1::SampleRequest request = Request({1, 2, std::numeric_limits<float>::quiet_NaN(), 2, 1, 2}, 3);
  grpc::ClientContext context;
  v1::SampleResponse response;
  ASSERT_TRUE(stub_->Sample(&context, request, &response).ok());
  EXPECT_THAT(response.token_counts(), ElementsAre(1, 0, 1));
  ASSERT_EQ(response.row_statuses_size(), 1);
  EXPECT_EQ(response.row_statuses(0).row(), 1u);
  EXPECT_EQ(response.row_statuses(0).code(), v1::ROW_CODE_NAN);
}

// Sends two sequences: a chain that the target would draw itself, and one with a row that fails.
TEST_F(SamplingServerTest, VerifiesDrafts) {
  v1::SampleRequest row = Request({0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0}, 4);
  v1::VerifyDraftRequest request;
  *request.mutable_target() = row.tensor();
  request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  request.add_draft_lengths(2);
  request.add_draft_lengths(0);
  request.add_draft_token_ids(1);
  request.add_draft_token_ids(2);
  grpc::ClientContext context;
  v1::VerifyDraftResponse response;
  const grpc::Status status = stub_->VerifyDraft(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.spec_version(), kSpecVersion);
  EXPECT_THAT(response.accepted_counts(), ElementsAre(2, 0));
  EXPECT_THAT(response.token_ids(), ElementsAre(1, 2, 0));
  ASSERT_EQ(response.sequence_statuses_size(), 1);
  EXPECT_EQ(response.sequence_statuses(0).row(), 1u);
  EXPECT_EQ(response.sequence_statuses(0).code(), v1::ROW_CODE_ZERO_SUM);
}

TEST_F(SamplingServerTest, RefusesAMalformedDraft) {
  grpc::ClientContext context;
  v1::VerifyDraftResponse response;
  const grpc::Status status = stub_->VerifyDraft(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("target "));
}

class ListenTest : public ::testing::Test {
 protected:
  ListenTest() {
    std::string name = (std::filesystem::temp_directory_path() / "token-sampler-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~ListenTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<std::unique_ptr<Server>> Listen(const std::string& address) {
    ServerOptions options;
    options.listen = {address};
    return Server::Start(options, sampler_);
  }

  GatedSampler sampler_;
  std::filesystem::path folder_;
};

TEST_F(ListenTest, TakesOverAStaleSocketAndNoOther) {
  const std::string path = folder_ / "socket";
  const std::string address = "unix:" + path;
  {
    const auto first = Listen(address);
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::Status second = Listen(address).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(std::string(second.message()), HasSubstr("another server listens there"));
  }
  // Make a socket file like that of a server that died without removing it.
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  close(fd);
  EXPECT_TRUE(Listen(address).ok());
}

TEST_F(ListenTest, LeavesAFileAlone) {
  const std::string path = folder_ / "file";
  std::ofstream(path) << "precious";
  const absl::Status status = Listen("unix:" + path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not a socket"));
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
}

TEST_F(ListenTest, NamesAnAddressThatIsTaken) {
  const auto first = Listen("127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  const std::string address = (*first)->addresses()[0];
  const absl::Status second = Listen(address).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr(address));
}

}  // namespace
}  // namespace token_sampler
