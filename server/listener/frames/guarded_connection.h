// Lets a FrameGuard see what gRPC receives and sends.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_GUARDED_CONNECTION_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_GUARDED_CONNECTION_H_

#include <functional>
#include <string>

#include "server/listener/frames/frame_guard.h"

namespace token_sampler {

// gRPC's threads call this with the reason why a connection is closed.
using OnFrameAttack = std::function<void(const std::string& reason)>;

// Guards what this process receives and sends on the descriptor until it is closed. Call it right
// after the connection is accepted, before anything is received. For connections without
// encryption: of encrypted ones nothing can be seen, and nothing is refused.
void GuardConnection(int fd, const FrameLimits& limits, OnFrameAttack on_attack);

// Returns what FrameGuard::Look() returns for the connection. Ends it if it is idle: a client that
// calls at that moment learns that it may call again elsewhere. Arguments as in
// ReleaseConnection().
std::string LookAtConnection(int connection, int same);

// Ends the guard of a connection that is over. `connection` is the number that it had, `same`
// another descriptor of it. Call it on the thread that calls GuardConnection().
void ReleaseConnection(int connection, int same);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_FRAMES_GUARDED_CONNECTION_H_
