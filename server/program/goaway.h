// Asks clients to open no more calls on their connections.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_GOAWAY_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_GOAWAY_H_

#include <grpcpp/server.h>

namespace token_sampler {

// Sends GOAWAY on every connection. Calls go on, and new ones are still accepted. A connection ends
// when its client has acknowledged the GOAWAY and its last call is over.
void SendGoaways(grpc::Server& server);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_GOAWAY_H_
