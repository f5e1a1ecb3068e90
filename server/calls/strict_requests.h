// Methods with small requests, taken as bytes: gRPC answers what is no message of the request's
// type, and a call without a message, with UNIMPLEMENTED, as if the method did not exist.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_STRICT_REQUESTS_H_
#define TOKEN_SAMPLER_SERVER_CALLS_STRICT_REQUESTS_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/calls/status_mapping.h"
#include "server/codec/invalid_argument.h"

namespace token_sampler {

// InvalidArgument when the bytes are no such message. For messages without what could be much of
// little, which ReceivedMessage measures.
template <typename Request>
absl::Status ParseSmall(const grpc::ByteBuffer& bytes, Request& request) {
  // Reading takes the buffer's pieces along; the copy shares them.
  grpc::ByteBuffer copy = bytes;
  if (copy.Valid() && grpc::SerializationTraits<Request>::Deserialize(&copy, &request).ok()) {
    return absl::OkStatus();
  }
  return NotOfType(Request::descriptor()->full_name(), bytes.Valid() ? bytes.Length() : 0);
}

// Base of a generated service with callback methods.
template <typename Service>
class StrictRequests : public Service {
 protected:
  // Lets `method`, which overrides the service's method of this name, get only what is a request.
  // It must finish the reactor before it returns, or answer with an empty message. Call it in the
  // constructor of `self`.
  template <typename Self, typename Request, typename Response>
  void TakeStrictly(absl::string_view service_name, absl::string_view name, Self* self,
                    grpc::ServerUnaryReactor* (Self::*method)(grpc::CallbackServerContext*,
                                                              const Request*, Response*)) {
    const auto* const service =
        Request::descriptor()->file()->pool()->FindServiceByName(std::string(service_name));
    const int index = service->FindMethodByName(std::string(name))->index();
    const auto take = [self, method](grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes, grpc::ByteBuffer* answer) {
      Request request;
      Response response;
      if (const absl::Status status = ParseSmall(*bytes, request); !status.ok()) {
        grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
        reactor->Finish(ToGrpcStatus(status));
        return reactor;
      }
      grpc::ServerUnaryReactor* const reactor = (self->*method)(context, &request, &response);
      // gRPC sends it once the reactor is returned.
      bool owned = false;
      static_cast<void>(grpc::SerializationTraits<Response>::Serialize(response, answer, &owned));
      return reactor;
    };
    this->MarkMethodRawCallback(
        index, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(take));
  }
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_STRICT_REQUESTS_H_
