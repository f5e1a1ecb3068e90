// Who makes a call, as far as time, places and memory are shared among callers.

#ifndef TOKEN_SAMPLER_SERVER_CALL_IDENTITY_H_
#define TOKEN_SAMPLER_SERVER_CALL_IDENTITY_H_

#include "absl/strings/string_view.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

// By what gRPC calls the peer: the client is its address, the first 64 bits of an IPv6 one, for a
// site has all of those; the connection is the peer with its port. All clients of Unix sockets are
// one client with one connection. Where calls are authenticated, who has been is a better client.
CallIdentity IdentityOfPeer(absl::string_view peer);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALL_IDENTITY_H_
