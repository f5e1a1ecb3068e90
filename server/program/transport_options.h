// Sets gRPC's options: the limits of this server for HTTP/2 connections.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_

#include <grpcpp/server_builder.h>

#include <cstdint>

#include "server/program/server_options.h"

namespace token_sampler {

// Bounds the memory of one connection and of all together, and how long one may be silent.
// Compressed messages are refused with UNIMPLEMENTED before they are inflated. All connections may
// hold `quota_bytes`; beyond that gRPC ends calls and connections.
void BoundTransport(const ServerOptions& options, uint64_t quota_bytes,
                    grpc::ServerBuilder& builder);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_TRANSPORT_OPTIONS_H_
