// Options of gRPC: this server's demands on HTTP/2 connections.

#ifndef TOKEN_SAMPLER_SERVER_TRANSPORT_OPTIONS_H_
#define TOKEN_SAMPLER_SERVER_TRANSPORT_OPTIONS_H_

#include <grpcpp/server_builder.h>

#include "server/server_options.h"

namespace token_sampler {

// Bounds what one connection, and all of them together, may hold and how long one may be silent.
// Compressed messages are refused with UNIMPLEMENTED before they are inflated.
void BoundTransport(const ServerOptions& options, grpc::ServerBuilder& builder);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_TRANSPORT_OPTIONS_H_
