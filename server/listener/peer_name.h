// Names the other end of a connection, for gRPC and for what counts connections.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_

#include <sys/socket.h>

namespace token_sampler {

// getpeername, which this takes the place of in the whole process: gRPC names the peer of a call by
// it. A client of a Unix socket gets a path of "USER/CONNECTION": the user who connected, as
// the kernel knows him, and a number that no other connection of this machine has. So neither is
// the client's choice, which the path of its own socket would be. Other addresses are what they
// are.
int PeerName(int fd, sockaddr* address, socklen_t* size) noexcept;

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_
