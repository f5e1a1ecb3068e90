// A fixture with a server with shared memory and two clients of it: the library and a plain stub,
// each with its own connection.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_FIXTURE_H_
#define TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler {

inline std::vector<float> RandomLogits(size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

using SampleStream = grpc::ClientReaderWriter<v1::SampleStreamRequest, v1::SampleStreamResponse>;

class RegionServiceTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 4;
  static constexpr int64_t kVocab = 300;

  void Start(const std::string& kinds = "system") {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.regions.kinds = kinds;
    options.regions.open_cuda = open_cuda_;
    auto server = Server::Start(options, *sampler_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = client::SamplerClient::Connect(server_->addresses()[0]);
    ASSERT_TRUE(client.ok()) << client.status();
    client_.emplace(*std::move(client));
    stub_ = v1::TokenSampler::NewStub(
        grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials()));
  }

  static client::SampleRequest Request(client::Matrix matrix) {
    client::SampleRequest request;
    request.matrix = std::move(matrix);
    request.params = {{.temperature = 0.7, .top_k = 40, .top_p = 0.95}};
    request.keys.seeds = {11};
    request.keys.streams = {0, 1, 2, 3};
    return request;
  }

  std::vector<uint32_t> Tokens(const client::SampleRequest& request) const {
    const auto result = client_->Sample(request);
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<uint32_t> tokens;
    if (!result.ok()) return tokens;
    for (const auto& row : result->rows) tokens.push_back(row.token_ids.at(0));
    return tokens;
  }

  grpc::Status Sample(const client::SharedRegion& region, uint64_t offset, uint32_t rows,
                      std::optional<uint64_t> stride = {}) const {
    v1::SampleRequest request;
    v1::Tensor& tensor = *request.mutable_tensor();
    tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
    tensor.set_rows(rows);
    tensor.set_vocab(kVocab);
    tensor.mutable_region()->set_name(region.name());
    tensor.mutable_region()->set_offset(offset);
    if (stride) tensor.mutable_region()->set_row_stride(*stride);
    grpc::ClientContext context;
    v1::SampleResponse response;
    return stub_->Sample(&context, request, &response);
  }

  // Opens a stream with sequence 1, which is greedy.
  std::unique_ptr<SampleStream> OpenStream(grpc::ClientContext& context) const {
    std::unique_ptr<SampleStream> stream = stub_->SampleStream(&context);
    v1::SampleStreamRequest request;
    v1::OpenSequences& open = *request.mutable_open();
    open.set_vocab(kVocab);
    open.add_params()->set_temperature(0.0);
    open.add_sequences()->set_sequence_id(1);
    v1::SampleStreamResponse answer;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&answer));
    EXPECT_EQ(answer.status_code(), 0u) << answer.status_message();
    return stream;
  }

  // Makes a step of sequence 1 with the first row of the region.
  static v1::SampleStreamResponse Step(SampleStream& stream, const std::string& region) {
    v1::SampleStreamRequest request;
    v1::StepSequences& step = *request.mutable_step();
    step.add_sequence_ids(1);
    v1::Tensor& tensor = *step.mutable_tensor();
    tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
    tensor.set_rows(1);
    tensor.set_vocab(kVocab);
    tensor.mutable_region()->set_name(region);
    v1::SampleStreamResponse answer;
    EXPECT_TRUE(stream.Write(request));
    EXPECT_TRUE(stream.Read(&answer));
    return answer;
  }

  // Returns DEADLINE_EXCEEDED instead of waiting for ever.
  grpc::Status Unregister(const std::string& name) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::UnregisterRegionRequest request;
    request.set_name(name);
    v1::UnregisterRegionResponse response;
    return stub_->UnregisterRegion(&context, request, &response);
  }

  OpenCudaRegion open_cuda_;
  std::unique_ptr<Sampler> sampler_ = CreateReferenceSampler();
  std::unique_ptr<Server> server_;
  std::optional<client::SamplerClient> client_;
  std::unique_ptr<v1::TokenSampler::Stub> stub_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_UNIT_SERVER_REGION_FIXTURE_H_
