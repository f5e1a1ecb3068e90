// Names the other end of a connection, for gRPC and for the connection table.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_

#include <sys/socket.h>

namespace token_sampler {

// Replaces getpeername() in the whole process, by which gRPC names the peer of a call. A client of
// a Unix socket gets the path "USER/CONNECTION": the user who connected, as the kernel reports it,
// and a number that no other connection of this machine has. The client can choose neither, while
// it could choose the path of its own socket. Other addresses stay as they are.
int PeerName(int fd, sockaddr* address, socklen_t* size) noexcept;

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_PEER_NAME_H_
