// Tests calls with as much metadata as the cookies and tokens of a proxy, beside ordinary calls.

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/program/server.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

constexpr int kLargeCalls = 30;
constexpr size_t kLargeBytes = 9000;

// Makes a call with padding that differs from call to call, so that header compression cannot make
// it small.
grpc::Status Sample(v1::TokenSampler::Stub& stub, size_t metadata_bytes, int number) {
  v1::SampleRequest request;
  request.mutable_tensor()->set_dtype(v1::DATA_TYPE_FLOAT32);
  request.mutable_tensor()->set_rows(1);
  request.mutable_tensor()->set_vocab(2);
  request.mutable_tensor()->set_data(std::string(8, '\0'));
  grpc::ClientContext context;
  if (metadata_bytes > 0) {
    const char letter = static_cast<char>('a' + number % 26);
    context.AddMetadata("cookie", std::to_string(number) + std::string(metadata_bytes, letter));
  }
  v1::SampleResponse response;
  return stub.Sample(&context, request, &response);
}

TEST(MetadataTest, LargeMetadataHarmsNoCallOfTheConnection) {
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  GatedSampler sampler;
  const std::unique_ptr<Server> server = *Server::Start(options, sampler);
  const auto stub = v1::TokenSampler::NewStub(
      grpc::CreateChannel(server->addresses()[0], grpc::InsecureChannelCredentials()));
  std::atomic<bool> done = false;
  std::atomic<int> lost = 0;
  std::vector<std::thread> ordinary;
  for (int i = 0; i < 4; ++i) {
    ordinary.emplace_back([&] {
      while (!done) lost += !Sample(*stub, 0, 0).ok();
    });
  }
  for (int i = 0; i < kLargeCalls; ++i) {
    const grpc::Status status = Sample(*stub, kLargeBytes, i);
    EXPECT_TRUE(status.ok()) << i << ": " << status.error_message();
  }
  EXPECT_TRUE(Sample(*stub, 200'000, 0).ok());
  done = true;
  for (std::thread& thread : ordinary) thread.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace token_sampler
