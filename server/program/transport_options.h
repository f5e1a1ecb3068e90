// Options of gRPC: this server's demands on HTTP/2 connections.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_

#include <grpcpp/server_builder.h>

#include <cstdint>

#include "server/program/server_options.h"

namespace token_sampler {

// Bounds what one connection, and all of them together, may hold and how long one may be silent.
// Compressed messages are refused with UNIMPLEMENTED before they are inflated.
// `quota_bytes` is what they may hold together; beyond, gRPC ends calls and connections.
void BoundTransport(const ServerOptions& options, uint64_t quota_bytes,
                    grpc::ServerBuilder& builder);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_
