// A fixture with a server and a client of the Open Inference Protocol.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_SERVER_KSERVE_FIXTURE_H_
#define TOKEN_SAMPLER_TESTS_UNIT_SERVER_KSERVE_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "inference/grpc_inference_service.grpc.pb.h"
#include "sampler/reference/reference_sampler.h"
#include "server/program/server.h"

namespace token_sampler {

using InferStream =
    grpc::ClientReaderWriter<inference::ModelInferRequest, inference::ModelStreamInferResponse>;

template <typename Element>
std::vector<Element> Elements(const std::string& raw) {
  std::vector<Element> elements(raw.size() / sizeof(Element));
  std::memcpy(elements.data(), raw.data(), raw.size());
  return elements;
}

inline inference::ModelInferRequest Request(const std::vector<float>& logits, int64_t rows,
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

// Points a tensor at shared memory.
template <typename Tensor>
void Place(Tensor& tensor, const std::string& region, int64_t offset, int64_t byte_size) {
  auto& parameters = *tensor.mutable_parameters();
  parameters["shared_memory_region"].set_string_param(region);
  parameters["shared_memory_byte_size"].set_int64_param(byte_size);
  if (offset != 0) parameters["shared_memory_offset"].set_int64_param(offset);
}

class KserveTest : public ::testing::Test {
 protected:
  explicit KserveTest(Sampler& sampler, const RegionOptions& regions = {})
      : server_(*Server::Start(Options(regions), sampler)),
        channel_(grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials())),
        stub_(inference::GRPCInferenceService::NewStub(channel_)) {}

  static ServerOptions Options(const RegionOptions& regions) {
    ServerOptions options;
    options.regions = regions;
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

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_UNIT_SERVER_KSERVE_FIXTURE_H_
