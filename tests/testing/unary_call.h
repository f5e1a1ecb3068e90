// Calls a generated stub, without the lines that every call needs.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_UNARY_CALL_H_
#define TOKEN_SAMPLER_TESTS_TESTING_UNARY_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

namespace token_sampler {

// Call(*stub, &v1::TokenSampler::Stub::ListRegions, request, response)
template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response& response) {
  grpc::ClientContext context;
  return (stub.*method)(&context, request, &response);
}

template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request = {}) {
  Response response;
  return Call(stub, method, request, response);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_TESTING_UNARY_CALL_H_
