// Finds out who makes a call, because callers share time, places and memory, and how urgent the
// call is among the caller's own.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_
#define TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

// Makes the identity from gRPC's name of the peer. The client is the peer's address, of an IPv6
// address only the first 64 bits, because a site has all of those. The connection is the peer with
// its port. On a Unix socket the client is the user, "unix:1000", and the connection has a number,
// "unix:1000/17" (listener/peer_name.h). An authenticated name would be a better client.
CallIdentity IdentityOfPeer(std::string peer);

// Returns the client with this name: "ipv4:10.0.0.7", "ipv6:2001:db8::/64" (or an address in it) or
// "unix:1000". InvalidArgument for anything else.
absl::StatusOr<std::string> ParseClientName(absl::string_view name);

// The name of a call's metadata with its priority, a whole number in [0, kHighestPriority]. The
// default is 0.
inline constexpr char kPriorityMetadata[] = "token-sampler-priority";

// The caller of a call or stream. Made once for each.
struct Caller {
  explicit Caller(const grpc::CallbackServerContext& context);

  CallIdentity identity;
  absl::Status status;  // InvalidArgument: refuse the call with it
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_
