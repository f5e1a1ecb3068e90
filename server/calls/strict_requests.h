// Lets methods with small requests take them as bytes. Otherwise gRPC would answer bytes that do
// not parse, and a call without a message, with UNIMPLEMENTED, as if the method did not exist.

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

// Ends a call with `status`. Returns the reactor of the call.
inline grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context,
                                       const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Parses a request. InvalidArgument if the bytes are not a Request. Use ReceivedMessage, which
// measures first, for types of which few bytes can become a large message.
template <typename Request>
absl::Status ParseSmall(const grpc::ByteBuffer& bytes, Request& request) {
  // Deserialize consumes the buffer, so use a copy, which shares its pieces.
  grpc::ByteBuffer copy = bytes;
  if (copy.Valid() && grpc::SerializationTraits<Request>::Deserialize(&copy, &request).ok()) {
    return absl::OkStatus();
  }
  return NotOfType(Request::descriptor()->full_name(), bytes.Valid() ? bytes.Length() : 0);
}

// The base of a service with callback methods. Service is the generated class.
template <typename Service>
class StrictRequests : public Service {
 protected:
  // Calls `method`, which overrides the service's method `name`, only with requests that parse;
  // others get InvalidArgument. `method` must finish the reactor before it returns, or answer with
  // an empty message. Call TakeStrictly in the constructor of `self`.
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
        return Reply(context, status);
      }
      grpc::ServerUnaryReactor* const reactor = (self->*method)(context, &request, &response);
      // gRPC sends the answer after the reactor is returned.
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
