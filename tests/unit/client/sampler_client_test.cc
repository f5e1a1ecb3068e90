// Tests the client library against a server in this process.

#include "token_sampler/sampler_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <numeric>
#include <string>
#include <vector>

#include "tests/testing/eventually.h"
#include "tests/unit/client/fake_server.h"

namespace token_sampler::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::token_sampler::testing::Eventually;

SamplerClient ConnectTo(const FakeServer& server, const ClientOptions& options = {}) {
  absl::StatusOr<SamplerClient> client = SamplerClient::Connect(server.address(), options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

std::vector<float> Ramp(size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), -3.0f);
  return values;
}

// Returns the status of a call to a server that answers with `answer`.
absl::Status StatusOfAnswer(const FakeServer::Answer& answer, int64_t rows = 2) {
  const FakeServer server(answer);
  const std::vector<float> values = Ramp(static_cast<size_t>(rows) * 3);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  return ConnectTo(server).Sample(request).status();
}

TEST(SamplerClientTest, SendsEveryFieldOfTheRequest) {
  FakeServer server;
  const std::vector<float> values = Ramp(6);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  request.kind = InputKind::kWeights;
  request.params = {{.temperature = 0.5,
                     .num_samples = 2,
                     .replacement = true,
                     .top_k = 40,
                     .top_p = 0.9,
                     .min_p = 0.05},
                    {}};
  request.row_params = {1, 0};
  request.keys.seeds = {UINT64_MAX};
  request.keys.steps = {7, uint64_t{1} << 40};
  request.keys.streams = {3, UINT32_MAX};
  request.outputs.logprobs = true;
  request.outputs.top_logprobs = 5;
  request.outputs.logprob_mode = LogprobMode::kProcessed;
  ASSERT_TRUE(ConnectTo(server).Sample(request).ok());

  const v1::SampleRequest sent = server.last_request();
  EXPECT_EQ(sent.tensor().dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(sent.tensor().rows(), 2u);
  EXPECT_EQ(sent.tensor().vocab(), 3u);
  EXPECT_EQ(sent.tensor().data(),
            std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  EXPECT_EQ(sent.input_kind(), v1::INPUT_KIND_WEIGHTS);
  ASSERT_EQ(sent.params_size(), 2);
  EXPECT_EQ(sent.params(0).temperature(), 0.5);
  EXPECT_EQ(sent.params(0).num_samples(), 2u);
  EXPECT_TRUE(sent.params(0).replacement());
  EXPECT_EQ(sent.params(0).top_k(), 40u);
  EXPECT_EQ(sent.params(0).top_p(), 0.9);
  EXPECT_EQ(sent.params(0).min_p(), 0.05);
  EXPECT_EQ(sent.params(1).ByteSizeLong(), 0u) << "what is not set must not be sent";
  EXPECT_THAT(sent.row_params(), ElementsAre(1, 0));
  EXPECT_THAT(sent.keys().seeds(), ElementsAre(UINT64_MAX));
  EXPECT_THAT(sent.keys().steps(), ElementsAre(7, uint64_t{1} << 40));
  EXPECT_THAT(sent.keys().streams(), ElementsAre(3, UINT32_MAX));
  EXPECT_TRUE(sent.outputs().logprobs());
  EXPECT_EQ(sent.outputs().top_logprobs(), 5u);
  EXPECT_EQ(sent.outputs().logprob_mode(), v1::LOGPROB_MODE_PROCESSED);
}

// Sends no history, an empty one, and one with tokens.
TEST(SamplerClientTest, SendsHistoriesAsTheyAreGiven) {
  FakeServer server([](const v1::SampleRequest& request, v1::SampleResponse* response) {
    if (request.histories().skip_unknown_ids()) response->add_skipped_ids(1);
    return FakeServer::AnswerRowNumbers(request, response);
  });
  const SamplerClient client = ConnectTo(server);
  const std::vector<float> values = Ramp(3);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  absl::StatusOr<SampleResult> result = client.Sample(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(server.last_request().has_histories());
  EXPECT_FALSE(result->rows[0].skipped_ids.has_value());

  request.histories = {{}};
  ASSERT_TRUE(client.Sample(request).ok());
  EXPECT_TRUE(server.last_request().has_histories());
  EXPECT_EQ(server.last_request().histories().ByteSizeLong(), 0u);

  request.histories = {{.prompt_ids = {1, 3}}};
  request.skip_unknown_ids = true;
  result = client.Sample(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(server.last_request().histories().prompt_ids().token_ids(), ElementsAre(1, 3));
  EXPECT_TRUE(server.last_request().histories().skip_unknown_ids());
  EXPECT_EQ(result->rows[0].skipped_ids, 1u);

  request.histories = {};
  for (const absl::Status& status :
       {client.Sample(request).status(), client.Describe(request, 1).status()}) {
    EXPECT_EQ(status, absl::InvalidArgumentError("skip_unknown_ids needs histories"));
  }
}

TEST(SamplerClientTest, SendsEachElementTypeAsItsBytes) {
  FakeServer server;
  const SamplerClient client = ConnectTo(server);
  const std::vector<uint16_t> halves = {0x3c00, 0xbc00, 0x0001, 0x7bff};
  const std::vector<double> doubles = {1.0, -2.0, 1e300, 0.1};
  const auto bytes_of = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(values[0]));
  };
  SampleRequest request;
  request.matrix = Float16Matrix(halves, 2);
  ASSERT_TRUE(client.Sample(request).ok());
  EXPECT_EQ(server.last_request().tensor().dtype(), v1::DATA_TYPE_FLOAT16);
  EXPECT_EQ(server.last_request().tensor().data(), bytes_of(halves));
  request.matrix = BFloat16Matrix(halves, 2);
  ASSERT_TRUE(client.Sample(request).ok());
  EXPECT_EQ(server.last_request().tensor().dtype(), v1::DATA_TYPE_BFLOAT16);
  EXPECT_EQ(server.last_request().tensor().data(), bytes_of(halves));
  request.matrix = Float64Matrix(doubles, 4);
  ASSERT_TRUE(client.Sample(request).ok());
  EXPECT_EQ(server.last_request().tensor().dtype(), v1::DATA_TYPE_FLOAT64);
  EXPECT_EQ(server.last_request().tensor().rows(), 1u);
  EXPECT_EQ(server.last_request().tensor().data(), bytes_of(doubles));
}

TEST(SamplerClientTest, SendsCandidatesInsteadOfRows) {
  FakeServer server;
  const SamplerClient client = ConnectTo(server);
  const std::vector<float> values = {3.0f, 2.0f, 9.0f};
  SampleRequest request;
  request.matrix.values = values.data();
  request.matrix.byte_size = values.size() * sizeof(float);
  request.matrix.rows = 2;
  request.matrix.vocab = 128'256;
  request.matrix.candidates = Candidates{.lengths = {2, 1},
                                         .token_ids = {128'255, 5, 0},
                                         .rest_log_sum_exp = {0.5, -1.0},
                                         .rest_counts = {128'254, 128'255},
                                         .reject_inexact = true};
  ASSERT_TRUE(client.Sample(request).ok());
  const v1::SampleRequest sent = server.last_request();
  EXPECT_EQ(sent.tensor().rows(), 2u);
  EXPECT_EQ(sent.tensor().vocab(), 128'256u);
  EXPECT_EQ(sent.tensor().dtype(), v1::DATA_TYPE_FLOAT32);
  const v1::Candidates& candidates = sent.tensor().candidates();
  EXPECT_THAT(candidates.lengths(), ElementsAre(2, 1));
  EXPECT_THAT(candidates.token_ids(), ElementsAre(128'255, 5, 0));
  EXPECT_EQ(candidates.values(), std::string(reinterpret_cast<const char*>(values.data()), 12));
  EXPECT_THAT(candidates.rest_log_sum_exp(), ElementsAre(0.5, -1.0));
  EXPECT_THAT(candidates.rest_counts(), ElementsAre(128'254, 128'255));
  EXPECT_EQ(candidates.inexact(), v1::INEXACT_POLICY_REJECT);

  EXPECT_EQ(client.Describe(request, 1).status().message(),
            "matrix.candidates must not be set: only Sample takes candidates");
  request.matrix.candidates->token_ids.push_back(1);
  EXPECT_THAT(std::string(client.Sample(request).status().message()),
              HasSubstr("must hold 4 values of 4 bytes, got 12 bytes"));
  request.matrix.region = RegionRows{.name = "region"};
  EXPECT_EQ(client.Sample(request).status().message(),
            "matrix must not have both a region and candidates");
}

TEST(SamplerClientTest, CarriesMoreThanTheDefaultMessageLimitBothWays) {
  const std::vector<float> values = Ramp(3 << 20);
  FakeServer server([](const v1::SampleRequest& request, v1::SampleResponse* response) {
    FakeServer::AnswerRowNumbers(request, response);
    response->mutable_token_ids()->Resize(2 << 20, 1u << 30);
    response->set_token_counts(0, 2 << 20);
    return grpc::Status::OK;
  });
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3 << 20);
  const absl::StatusOr<SampleResult> result = ConnectTo(server).Sample(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows[0].token_ids.size(), 2u << 20);
  EXPECT_EQ(server.last_request().tensor().data().size(), size_t{12} << 20);
}

TEST(SamplerClientTest, SendsOwnedValuesInPlaceAndLetsThemGo) {
  FakeServer server;
  auto values = std::make_shared<std::vector<float>>(Ramp(6));
  {
    SampleRequest request;
    request.matrix = Float32Matrix(*values, 3);
    request.matrix.owner = values;
    const absl::StatusOr<EncodedRequest> encoded = EncodedRequest::Create(request);
    ASSERT_TRUE(encoded.ok());
    request = {};
    EXPECT_EQ(values.use_count(), 2) << "the encoded request keeps the values alive";
    (*values)[0] = 42.0f;
    const SamplerClient client = ConnectTo(server);
    std::promise<absl::Status> done;
    client.SampleAsync(*encoded, [&done](const absl::StatusOr<SampleResult>& result) {
      done.set_value(result.status());
    });
    EXPECT_TRUE(done.get_future().get().ok());
    float first = 0.0f;
    server.last_request().tensor().data().copy(reinterpret_cast<char*>(&first), sizeof(first));
    EXPECT_EQ(first, 42.0f) << "the values were copied when the request was encoded";
  }
  // Nothing may hold the values after request and client are destroyed; gRPC releases them on its
  // own thread.
  EXPECT_TRUE(Eventually([&] { return values.use_count() == 1; }));
}

TEST(SamplerClientTest, ReturnsEachRowsTokensKeysAndDetails) {
  const FakeServer server([](const v1::SampleRequest&, v1::SampleResponse* response) {
    response->set_spec_version(9);
    for (uint32_t count : {2u, 0u, 1u}) response->add_token_counts(count);
    for (uint32_t id : {10u, 11u, 12u}) response->add_token_ids(id);
    for (uint64_t r : {0u, 1u, 2u}) {
      response->add_seeds(UINT64_MAX - r);
      response->add_steps(100 + r);
      response->add_streams(static_cast<uint32_t>(200 + r));
    }
    v1::RowStatus* failed = response->add_row_statuses();
    failed->set_row(1);
    failed->set_code(v1::ROW_CODE_NAN);
    failed->set_message("logit of token 5 is NaN");
    v1::RowStatus* repaired = response->add_row_statuses();
    repaired->set_row(2);
    repaired->set_code(v1::ROW_CODE_SANITIZED);
    v1::RowDetail* first = response->add_details();
    first->add_logprobs(-0.5f);
    first->add_logprobs(-1.5f);
    first->add_top_token_ids(7);
    first->add_top_logprobs(-0.25f);
    response->add_details();
    response->add_details()->add_logprobs(-3.0f);
    return grpc::Status::OK;
  });
  const std::vector<float> values = Ramp(6);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 2);
  const absl::StatusOr<SampleResult> result = ConnectTo(server).Sample(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->spec_version, 9u);
  ASSERT_EQ(result->rows.size(), 3u);

  const RowResult& drawn = result->rows[0];
  EXPECT_FALSE(drawn.failed());
  EXPECT_EQ(RowCodeName(drawn.code), "OK");
  EXPECT_THAT(drawn.token_ids, ElementsAre(10, 11));
  EXPECT_THAT(drawn.logprobs, ElementsAre(-0.5f, -1.5f));
  ASSERT_EQ(drawn.top_logprobs.size(), 1u);
  EXPECT_EQ(drawn.top_logprobs[0].token_id, 7u);
  EXPECT_EQ(drawn.top_logprobs[0].logprob, -0.25f);
  EXPECT_EQ(drawn.seed, UINT64_MAX);
  EXPECT_EQ(drawn.step, 100u);
  EXPECT_EQ(drawn.stream, 200u);

  const RowResult& failed = result->rows[1];
  EXPECT_TRUE(failed.failed());
  EXPECT_EQ(RowCodeName(failed.code), "NAN");
  EXPECT_EQ(failed.message, "logit of token 5 is NaN");
  EXPECT_THAT(failed.token_ids, IsEmpty());

  const RowResult& repaired = result->rows[2];
  EXPECT_FALSE(repaired.failed()) << "a repaired row has tokens";
  EXPECT_EQ(RowCodeName(repaired.code), "SANITIZED");
  EXPECT_THAT(repaired.token_ids, ElementsAre(12));
  EXPECT_EQ(RowCodeName(static_cast<RowCode>(77)), "CODE_77");
}

TEST(SamplerClientTest, KeepsTheServersCodeAndMessage) {
  for (const grpc::StatusCode code :
       {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::RESOURCE_EXHAUSTED,
        grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::INTERNAL}) {
    const absl::Status status =
        StatusOfAnswer([code](const v1::SampleRequest&, v1::SampleResponse*) {
          return grpc::Status(code, "what the server says");
        });
    EXPECT_EQ(static_cast<int>(status.code()), static_cast<int>(code));
    EXPECT_THAT(std::string(status.message()), HasSubstr("what the server says"));
  }
}

TEST(SamplerClientTest, RejectsAnswersThatDoNotHoldTogether) {
  const auto broken = [](const std::function<void(v1::SampleResponse*)>& damage) {
    return StatusOfAnswer(
        [&damage](const v1::SampleRequest& request, v1::SampleResponse* response) {
          FakeServer::AnswerRowNumbers(request, response);
          damage(response);
          return grpc::Status::OK;
        });
  };
  EXPECT_TRUE(broken([](v1::SampleResponse*) {}).ok());
  using Damage = std::function<void(v1::SampleResponse*)>;
  const std::vector<Damage> damages = {
      [](v1::SampleResponse* r) { r->add_token_counts(0); },
      [](v1::SampleResponse* r) { r->clear_token_counts(); },
      [](v1::SampleResponse* r) { r->set_token_counts(0, UINT32_MAX); },
      [](v1::SampleResponse* r) { r->add_token_ids(1); },
      [](v1::SampleResponse* r) { r->clear_seeds(); },
      [](v1::SampleResponse* r) { r->add_steps(1); },
      [](v1::SampleResponse* r) { r->clear_streams(); },
      [](v1::SampleResponse* r) { r->add_details(); },
      [](v1::SampleResponse* r) { r->add_skipped_ids(1); },
      [](v1::SampleResponse* r) { r->add_row_statuses()->set_row(2); },
      [](v1::SampleResponse* r) { r->add_row_statuses()->set_code(v1::ROW_CODE_NAN); },
      [](v1::SampleResponse* r) {
        r->add_details()->add_top_token_ids(1);
        r->add_details();
      },
      [](v1::SampleResponse* r) {
        r->add_details();
        r->add_details()->mutable_logprobs()->Resize(2, 0.0f);
      },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    const absl::Status status = broken(damages[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << "damage " << i;
    EXPECT_THAT(std::string(status.message()), HasSubstr("malformed response")) << "damage " << i;
  }
}

TEST(SamplerClientTest, NamesWhatIsWrongWithAMatrix) {
  const std::vector<float> values = Ramp(6);
  const auto message_of = [](const Matrix& matrix) {
    SampleRequest request;
    request.matrix = matrix;
    const absl::Status status = EncodedRequest::Create(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message_of(Float32Matrix(values, 4)), HasSubstr("must hold 4 values"));
  EXPECT_THAT(message_of(Float32Matrix(values, 0)), HasSubstr("matrix.vocab"));
  EXPECT_THAT(message_of(Float32Matrix(values, -1)), HasSubstr("got -1"));
  EXPECT_THAT(message_of(Float32Matrix({}, 4)), HasSubstr("matrix.rows"));
  Matrix matrix = Float32Matrix(values, 3);
  matrix.values = nullptr;
  EXPECT_THAT(message_of(matrix), HasSubstr("null"));
  matrix = Float32Matrix(values, 3);
  matrix.rows = int64_t{1} << 31;
  matrix.vocab = int64_t{1} << 31;  // times 4 bytes is 2^64
  EXPECT_THAT(message_of(matrix), HasSubstr("must hold 4611686018427387904 values"));
  matrix.byte_size = size_t{1} << 32;
  matrix.rows = 1;
  matrix.vocab = int64_t{1} << 30;
  EXPECT_THAT(message_of(matrix),
              AllOf(HasSubstr("gRPC sends 2147483647"), HasSubstr("fewer rows")));
}

TEST(SamplerClientTest, HoldsBackRequestsAboveItsOwnLimit) {
  FakeServer server;
  const std::vector<float> values = Ramp(600);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  const absl::Status status =
      ConnectTo(server, {.max_message_bytes = 2000}).Sample(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_message_bytes is 2000"));
  EXPECT_FALSE(server.last_request().has_tensor()) << "nothing must be sent";
}

TEST(SamplerClientTest, ChecksAddressAndOptions) {
  for (const char* address :
       {"", "localhost", "localhost:", ":80", "host:http", "host:70000", "host:0", "unix:"}) {
    EXPECT_EQ(SamplerClient::Connect(address).status().code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
  for (const char* address : {"localhost:1", "[::1]:80", "unix:/tmp/socket", "dns:///host:80"}) {
    EXPECT_TRUE(SamplerClient::Connect(address).ok()) << address;
  }
  for (const ClientOptions& options :
       {ClientOptions{.timeout = absl::ZeroDuration()}, ClientOptions{.max_message_bytes = 0},
        ClientOptions{.max_message_bytes = int64_t{1} << 31}, ClientOptions{.channels = 0}}) {
    EXPECT_EQ(SamplerClient::Connect("localhost:1", options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(SamplerClient::Connect("here").status().message(),
            "address must be host:port or unix:/path, got 'here'");
  EXPECT_EQ(SamplerClient::Connect("localhost:1", {.channels = 1025}).status().message(),
            "channels must be in [1, 1024], got 1025");
}

TEST(SamplerClientTest, SaysWhereNothingAnswers) {
  std::string address;
  {
    const FakeServer gone;
    address = gone.address();
  }
  const absl::Status status = SamplerClient::Connect(address)->GetServerInfo().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing answers at " + address));
}

TEST(SamplerClientTest, EndsACallAtItsTimeout) {
  std::promise<void> end;
  std::shared_future<void> ended = end.get_future().share();
  const FakeServer server([ended](const v1::SampleRequest&, v1::SampleResponse*) {
    ended.wait();
    return grpc::Status::OK;
  });
  const std::vector<float> values = Ramp(3);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  const absl::Status status =
      ConnectTo(server, {.timeout = absl::Milliseconds(20)}).Sample(request).status();
  end.set_value();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("within 20ms"));
}

TEST(SamplerClientTest, SpreadsCallsOverItsChannels) {
  FakeServer server;
  const SamplerClient client = ConnectTo(server, {.channels = 3});
  const std::vector<float> values = Ramp(3);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(client.Sample(request).ok());
  EXPECT_EQ(server.peers().size(), 3u);
}

TEST(SamplerClientTest, RunsManyCallsAtOnceAndWaitsForThemAtItsEnd) {
  const FakeServer server;
  constexpr int kCalls = 200;
  const std::vector<float> values = Ramp(12);
  SampleRequest request;
  request.matrix = Float32Matrix(values, 3);
  const absl::StatusOr<EncodedRequest> encoded = EncodedRequest::Create(request);
  ASSERT_TRUE(encoded.ok());
  std::vector<absl::StatusOr<SampleResult>> results(kCalls, absl::UnknownError("no answer"));
  {
    const SamplerClient client = ConnectTo(server);
    for (auto& result : results) {
      client.SampleAsync(
          *encoded, [&result](absl::StatusOr<SampleResult> answer) { result = std::move(answer); });
    }
  }
  for (const auto& answer : results) {
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->rows.size(), 4u);
  }
}

TEST(SamplerClientTest, TellsTheServersInfo) {
  const FakeServer server;
  const absl::StatusOr<ServerInfo> info = ConnectTo(server).GetServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version, "1.2.3");
  EXPECT_EQ(info->spec_version, 1u);
  EXPECT_EQ(info->backend, "reference");
  EXPECT_EQ(info->device, "this process");
  EXPECT_EQ(info->max_rows, 512u);
  EXPECT_EQ(info->max_vocab, 1u << 20);
  EXPECT_EQ(info->max_message_bytes, uint64_t{1} << 40);
  EXPECT_EQ(info->max_response_bytes, uint64_t{1} << 41);
  EXPECT_EQ(info->memory_budget_bytes, uint64_t{1} << 42);
  EXPECT_EQ(info->max_num_samples, 100u);
  EXPECT_THAT(info->features, ElementsAre("temperature", "top_k"));
  ASSERT_EQ(info->fallbacks.size(), 1u);
  EXPECT_EQ(info->fallbacks[0].reason, "outputs");
  EXPECT_EQ(info->fallbacks[0].rows, 3u);
}

TEST(SamplerClientTest, TellsTheServersHealth) {
  FakeServer server;
  const SamplerClient client = ConnectTo(server);
  grpc::HealthCheckServiceInterface* health = server.server().GetHealthCheckService();
  health->SetServingStatus("a.Service", false);
  absl::StatusOr<HealthStatus> status = client.CheckHealth();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, HealthStatus::kServing);
  status = client.CheckHealth("a.Service");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(HealthStatusName(*status), "NOT_SERVING");
  EXPECT_EQ(client.CheckHealth("another.Service").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace token_sampler::client
