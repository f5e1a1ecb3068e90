// Calls SampleStream of a server in this process, and samples the same sequences by single calls.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_SEQUENCE_STREAMS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_SEQUENCE_STREAMS_H_

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/program/server.h"

namespace token_sampler::testing {

using Ids = std::vector<uint64_t>;
using Tokens = std::vector<uint32_t>;
using RawStream = grpc::ClientReaderWriter<v1::SampleStreamRequest, v1::SampleStreamResponse>;

inline constexpr uint32_t kVocab = 24;

inline v1::SampleStreamRequest Parse(const std::string& text) {
  v1::SampleStreamRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

// Logits that depend only on the sequence and its step, with many near the largest.
inline std::vector<float> Logits(uint64_t id, uint64_t step) {
  std::mt19937 random(static_cast<unsigned>(id * 1000 + step));
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = static_cast<float>(random() % 400) / 100;
  return logits;
}

inline void SetRows(const std::vector<std::vector<float>>& rows, v1::Tensor& tensor) {
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(static_cast<uint32_t>(rows.size()));
  tensor.set_vocab(static_cast<uint32_t>(rows[0].size()));
  for (const std::vector<float>& row : rows) {
    tensor.mutable_data()->append(reinterpret_cast<const char*>(row.data()),
                                  row.size() * sizeof(float));
  }
}

// One stream, a request at a time.
class Stream {
 public:
  explicit Stream(v1::TokenSampler::Stub& stub) : stream_(stub.SampleStream(&context_)) {}
  ~Stream() {
    context_.TryCancel();
    Finish();
  }

  // Ends the stream and returns its status.
  grpc::Status Finish() {
    if (!std::exchange(finished_, true)) status_ = stream_->Finish();
    return status_;
  }

  v1::SampleStreamResponse Call(v1::SampleStreamRequest request) {
    request.set_request_id(++request_id_);
    v1::SampleStreamResponse response;
    EXPECT_TRUE(stream_->Write(request));
    EXPECT_TRUE(stream_->Read(&response));
    EXPECT_EQ(response.request_id(), request_id_);
    return response;
  }

  // Sends a request, which must succeed.
  v1::SampleStreamResponse Do(const v1::SampleStreamRequest& request) {
    v1::SampleStreamResponse response = Call(request);
    EXPECT_EQ(response.status_code(), 0u) << response.status_message();
    return response;
  }
  v1::SampleStreamResponse Do(const std::string& text) { return Do(Parse(text)); }

  static v1::SampleStreamRequest StepRequest(const Ids& ids, uint64_t step) {
    v1::SampleStreamRequest request;
    std::vector<std::vector<float>> rows;
    for (const uint64_t id : ids) {
      request.mutable_step()->add_sequence_ids(id);
      rows.push_back(Logits(id, step));
    }
    SetRows(rows, *request.mutable_step()->mutable_tensor());
    return request;
  }

  // Steps the sequences with their logits of this step. Returns a token per sequence.
  Tokens Step(const Ids& ids, uint64_t step) {
    const v1::SampleStreamResponse response = Do(StepRequest(ids, step));
    EXPECT_EQ(response.sampled().token_ids_size(), static_cast<int>(ids.size()));
    return {response.sampled().token_ids().begin(), response.sampled().token_ids().end()};
  }

  grpc::ClientContext& context() { return context_; }
  RawStream& raw() { return *stream_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<RawStream> stream_;
  uint64_t request_id_ = 0;
  bool finished_ = false;
  grpc::Status status_;
};

inline std::string Message(const v1::SampleStreamResponse& response, absl::StatusCode code) {
  EXPECT_EQ(response.status_code(), static_cast<uint32_t>(code)) << response.status_message();
  return response.status_message();
}

// Parameters that use the history in each possible way, and those that have a state.
inline constexpr const char* kParams[] = {
    "temperature: 0.7 top_k: 12",
    "repetition_penalty: 1.8 frequency_penalty: 0.5 presence_penalty: 0.25",
    "repetition_penalty: 1.8 penalty_last_n: 3",
    "no_repeat_ngram_size: 2",
    "dry { multiplier: 4 allowed_length: 1 }",
    "min_tokens: 6 stop_ids: [1, 2, 3, 4, 5, 6, 7]",
    "bad_words { token_ids: [3, 4] } bad_words { token_ids: 9 }",
    "mirostat { version: 2 tau: 2 }",
    "mirostat { version: 1 tau: 3 } repetition_penalty: 1.5",
    "adaptive_p { target: 0.4 }",
    "top_p: 0.9 top_p_decay { decay: 0.8 min: 0.1 reset_ids: [3, 4, 5] }",
    "temperature_schedule { kind: KIND_LINEAR begin: 2 end: 0.2 num_steps: 8 }",
};
inline constexpr uint64_t kSequences = sizeof(kParams) / sizeof(kParams[0]);

inline Ids AllIds() {
  Ids ids;
  for (uint64_t id = 0; id < kSequences; ++id) ids.push_back(id);
  return ids;
}

// Opens each sequence `id` with kParams[id], seed 100 + id, a prompt, and the fields in `rest`.
inline v1::SampleStreamRequest OpenRequest(const Ids& ids, const std::string& rest = "") {
  std::string text = "open { vocab: " + std::to_string(kVocab);
  for (const uint64_t id : ids) text += " params { " + std::string(kParams[id]) + " }";
  for (size_t i = 0; i < ids.size(); ++i) {
    text += " sequences { sequence_id: " + std::to_string(ids[i]) +
            " params: " + std::to_string(i) + " seed: " + std::to_string(100 + ids[i]) +
            " prompt_ids: [1, 2, 3, 4, 5, 3] " + rest + " }";
  }
  return Parse(text + " }");
}

// Opens sequence 0 with a prompt that takes more than a slice of time to index.
inline v1::SampleStreamRequest LongOpenRequest() {
  constexpr int kTokens = 500'000;
  v1::SampleStreamRequest request = Parse(
      "open { vocab: 24 params { dry { multiplier: 4 } frequency_penalty: 0.1 } "
      "sequences { sequence_id: 0 seed: 1 } }");
  v1::OpenSequences::Sequence& sequence = *request.mutable_open()->mutable_sequences(0);
  for (int i = 0; i < kTokens; ++i) sequence.add_prompt_ids(static_cast<uint32_t>(i % 7));
  return request;
}

// The same sequences by single calls, where the caller keeps all state.
class Unary {
 public:
  Unary(v1::TokenSampler::Stub& stub, uint64_t id) : stub_(stub), id_(id) {
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kParams[id], request_.add_params()));
    request_.mutable_keys()->add_seeds(100 + id);
    request_.mutable_keys()->add_steps(0);
    v1::Histories& histories = *request_.mutable_histories();
    histories.mutable_prompt_ids()->add_lengths(6);
    for (const uint32_t token : {1u, 2u, 3u, 4u, 5u, 3u}) {
      histories.mutable_prompt_ids()->add_token_ids(token);
    }
    histories.mutable_output_ids()->add_lengths(0);
  }

  uint32_t Step(uint64_t step) {
    request_.mutable_tensor()->clear_data();
    SetRows({Logits(id_, step)}, *request_.mutable_tensor());
    request_.mutable_keys()->set_steps(0, step);
    grpc::ClientContext context;
    v1::SampleResponse response;
    const grpc::Status status = stub_.Sample(&context, request_, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.token_ids_size(), 1);
    const uint32_t token = response.token_ids(0);
    v1::IdLists& output = *request_.mutable_histories()->mutable_output_ids();
    output.add_token_ids(token);
    output.set_lengths(0, static_cast<uint32_t>(output.token_ids_size()));
    *request_.mutable_states() = response.states();
    return token;
  }

 private:
  v1::TokenSampler::Stub& stub_;
  const uint64_t id_;
  v1::SampleRequest request_;
};

inline ServerOptions Loopback() {
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  return options;
}

template <typename AnySampler>
class StreamTest : public ::testing::Test {
 protected:
  explicit StreamTest(std::unique_ptr<AnySampler> sampler,
                      const ServerOptions& options = Loopback())
      : sampler_(std::move(sampler)),
        server_(*Server::Start(options, *sampler_)),
        stub_(v1::TokenSampler::NewStub(
            grpc::CreateChannel(server_->addresses()[0], grpc::InsecureChannelCredentials()))) {}

  // The tokens of single calls: [steps][sequences].
  std::vector<Tokens> Expected(const Ids& ids, uint64_t steps) {
    std::vector<Tokens> tokens(steps);
    for (const uint64_t id : ids) {
      Unary unary(*stub_, id);
      for (uint64_t step = 0; step < steps; ++step) tokens[step].push_back(unary.Step(step));
    }
    return tokens;
  }

  std::unique_ptr<AnySampler> sampler_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::TokenSampler::Stub> stub_;
};

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_SEQUENCE_STREAMS_H_
