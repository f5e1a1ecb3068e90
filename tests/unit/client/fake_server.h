// A gRPC server in this process that answers as the test wants and keeps the requests that it got.

#ifndef TOKEN_SAMPLER_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
#define TOKEN_SAMPLER_TESTS_UNIT_CLIENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler::client::testing {

class FakeServer final : public v1::TokenSampler::Service {
 public:
  using Answer = std::function<grpc::Status(const v1::SampleRequest&, v1::SampleResponse*)>;

  // Listens on a free port of the loopback address.
  explicit FakeServer(Answer answer = AnswerRowNumbers) : answer_(std::move(answer)) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  // Answers token r for row r, with the row's number as seed, step and stream.
  static grpc::Status AnswerRowNumbers(const v1::SampleRequest& request,
                                       v1::SampleResponse* response) {
    response->set_spec_version(1);
    for (uint32_t r = 0; r < request.tensor().rows(); ++r) {
      response->add_token_counts(1);
      response->add_token_ids(r);
      response->add_seeds(r);
      response->add_steps(r);
      response->add_streams(r);
    }
    return grpc::Status::OK;
  }

  const std::string& address() const { return address_; }
  grpc::Server& server() { return *server_; }

  v1::SampleRequest last_request() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_request_;
  }

  // Returns the addresses from which Sample was called: one per connection.
  std::set<std::string> peers() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return peers_;
  }

  grpc::Status Sample(grpc::ServerContext* context, const v1::SampleRequest* request,
                      v1::SampleResponse* response) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      last_request_ = *request;
      peers_.insert(context->peer());
    }
    return answer_(*request, response);
  }

  // Set the answer of VerifyDraft, and return the request that it got.
  void AnswerDrafts(v1::VerifyDraftResponse response) {
    const std::lock_guard<std::mutex> lock(mutex_);
    draft_response_ = std::move(response);
  }
  v1::VerifyDraftRequest last_draft_request() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_draft_request_;
  }

  grpc::Status VerifyDraft(grpc::ServerContext*, const v1::VerifyDraftRequest* request,
                           v1::VerifyDraftResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_draft_request_ = *request;
    *response = draft_response_;
    return grpc::Status::OK;
  }

  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    response->set_version("1.2.3");
    response->set_spec_version(1);
    response->set_backend("reference");
    response->set_device("this process");
    response->set_max_rows(512);
    response->set_max_vocab(1 << 20);
    response->set_max_message_bytes(uint64_t{1} << 40);
    response->set_max_response_bytes(uint64_t{1} << 41);
    response->set_memory_budget_bytes(uint64_t{1} << 42);
    response->set_max_num_samples(100);
    response->add_features("temperature");
    response->add_features("top_k");
    v1::GetServerInfoResponse::Fallback& fallback = *response->add_fallbacks();
    fallback.set_reason("outputs");
    fallback.set_rows(3);
    return grpc::Status::OK;
  }

 private:
  Answer answer_;
  std::string address_;
  std::mutex mutex_;
  v1::SampleRequest last_request_;
  v1::VerifyDraftRequest last_draft_request_;
  v1::VerifyDraftResponse draft_response_;
  std::set<std::string> peers_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace token_sampler::client::testing

#endif  // TOKEN_SAMPLER_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
