// Compiles what a program with its own calls does.

#include <grpcpp/channel.h>

#include <memory>

#include "token_sampler/v1/token_sampler.grpc.pb.h"

using token_sampler::v1::TokenSampler;

std::unique_ptr<TokenSampler::Stub> MakeStub(const std::shared_ptr<grpc::Channel>& channel) {
  return TokenSampler::NewStub(channel);
}
