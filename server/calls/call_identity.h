// Who makes a call, as far as time, places and memory are shared among callers, and how urgent it
// is among the caller's own.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_
#define TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

// By what gRPC calls the peer: the client is its address, the first 64 bits of an IPv6 one, for a
// site has all of those; the connection is the peer with its port. On a Unix socket the client is
// the user, "unix:1000", and the connection has a number, "unix:1000/17" (listener/peer_name.h).
// An authenticated name would be a better client.
CallIdentity IdentityOfPeer(std::string peer);

// The client that the name means: "ipv4:10.0.0.7", "ipv6:2001:db8::/64" (or an address of it) or
// "unix:1000". InvalidArgument for anything else.
absl::StatusOr<std::string> ParseClientName(absl::string_view name);

// Metadata of a call: a whole number in [0, kHighestPriority], without it 0.
inline constexpr char kPriorityMetadata[] = "token-sampler-priority";

// Made once for each call or stream.
struct Caller {
  explicit Caller(const grpc::CallbackServerContext& context);

  CallIdentity identity;
  absl::Status status;  // InvalidArgument: the call must be refused with it
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_CALL_IDENTITY_H_
