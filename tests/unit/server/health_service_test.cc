// Tests health and reflection over a real channel: their answers, their bounds and their end.

#include "server/operation/health_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/program/server.h"
#include "tests/testing/eventually.h"
#include "tests/testing/gated_sampler.h"

namespace token_sampler {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1alpha::ServerReflection;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using ::testing::HasSubstr;

class OperationTest : public ::testing::Test {
 protected:
  OperationTest() {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    server_ = *Server::Start(options, sampler_);
    channel_ = grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials());
  }

  struct Watch {
    explicit Watch(Health::Stub& stub, const std::string& service = "") {
      HealthCheckRequest request;
      request.set_service(service);
      reader = stub.Watch(&context, request);
    }
    HealthCheckResponse::ServingStatus Read() {
      HealthCheckResponse response;
      return reader->Read(&response) ? response.status() : HealthCheckResponse::UNKNOWN;
    }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
  };

  GatedSampler sampler_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(OperationTest, AWatchTellsEachChangeAndEndsWithTheServer) {
  const auto stub = Health::NewStub(channel_);
  Watch watch(*stub);
  EXPECT_EQ(watch.Read(), HealthCheckResponse::SERVING);
  Watch unknown(*stub, "nobody");
  EXPECT_EQ(unknown.Read(), HealthCheckResponse::SERVICE_UNKNOWN);
  server_->BeginDrain();
  EXPECT_EQ(watch.Read(), HealthCheckResponse::NOT_SERVING);
  // Returns long before the timeout, because only watches are open.
  server_->Stop(std::chrono::hours(1));
  EXPECT_EQ(watch.Read(), HealthCheckResponse::UNKNOWN);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(unknown.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(OperationTest, WatchesAreBoundedAndMakeRoomWhenTheyEnd) {
  std::vector<std::unique_ptr<Watch>> watches;
  const auto open = [&](const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = Health::NewStub(channel);
    watches.push_back(std::make_unique<Watch>(*stub));
    return watches.back()->Read();
  };
  // A connection may have 256 open calls, and a few ended ones may still count.
  constexpr int kOfOneConnection = 250;
  std::shared_ptr<grpc::Channel> channel;
  for (int i = 0; i < 1024; ++i) {
    if (i % kOfOneConnection == 0) {
      grpc::ChannelArguments own;
      own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      channel = grpc::CreateCustomChannel(server_->addresses()[0],
                                          grpc::InsecureChannelCredentials(), own);
    }
    ASSERT_EQ(open(channel), HealthCheckResponse::SERVING);
  }
  EXPECT_EQ(open(channel), HealthCheckResponse::UNKNOWN);
  const grpc::Status refused = watches.back()->reader->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.error_message(), "at most 1024 calls may watch the health at once");
  watches.clear();
  EXPECT_TRUE(testing::Eventually([&] { return open(channel) == HealthCheckResponse::SERVING; }));
}

TEST_F(OperationTest, ReflectionHasTheDescriptorsOfEachService) {
  const auto stub = ServerReflection::NewStub(channel_);
  grpc::ClientContext context;
  const auto stream = stub->ServerReflectionInfo(&context);
  ServerReflectionRequest request;
  ServerReflectionResponse services;
  request.set_list_services("");
  ASSERT_TRUE(stream->Write(request) && stream->Read(&services));
  ASSERT_EQ(services.list_services_response().service_size(), 4);
  for (const auto& service : services.list_services_response().service()) {
    request.set_file_containing_symbol(service.name());
    ServerReflectionResponse file;
    ASSERT_TRUE(stream->Write(request) && stream->Read(&file));
    ASSERT_GT(file.file_descriptor_response().file_descriptor_proto_size(), 0) << service.name();
    google::protobuf::FileDescriptorProto proto;
    EXPECT_TRUE(proto.ParseFromString(file.file_descriptor_response().file_descriptor_proto(0)));
    EXPECT_EQ(proto.package() + "." + proto.service(0).name(), service.name());
  }
  request.set_file_containing_symbol("nobody");
  ServerReflectionResponse unknown;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&unknown));
  EXPECT_EQ(unknown.error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  // An idle stream does not delay the stop.
  server_->Stop(std::chrono::hours(1));
  EXPECT_FALSE(stream->Read(&unknown));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace token_sampler
