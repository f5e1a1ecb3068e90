// Lets a FrameGuard see what gRPC receives and sends.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_GUARDED_CONNECTION_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_GUARDED_CONNECTION_H_

#include <functional>
#include <string>

#include "server/listener/frame_guard.h"

namespace token_sampler {

// Called on gRPC's threads with the reason for which a connection is closed.
using OnFrameAttack = std::function<void(const std::string& reason)>;

// From now on what this process receives and sends on the descriptor is guarded, until the
// descriptor is closed. Call it when the connection has just been accepted and nothing has been
// received. It is for connections in the clear: of encrypted ones nothing can be seen, and nothing
// is refused.
void GuardConnection(int fd, const FrameLimits& limits, OnFrameAttack on_attack);

// Returns what FrameGuard::Look says of a connection, and ends one that is idle: a client that
// calls at that moment is told that it may call again elsewhere. Arguments as ReleaseConnection,
// below.
std::string LookAtConnection(int connection, int same);

// Ends that: the connection is over. `connection` is the number that it had, `same` another
// descriptor of it. Call it on the thread that calls GuardConnection.
void ReleaseConnection(int connection, int same);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_GUARDED_CONNECTION_H_
