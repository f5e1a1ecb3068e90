#include "server/listener/peer_name.h"

#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace token_sampler {

int PeerName(int fd, sockaddr* address, socklen_t* size) noexcept {
  const socklen_t room = *size;
  if (syscall(SYS_getpeername, fd, address, size) != 0) return -1;
  sa_family_t family = AF_UNSPEC;
  if (std::min(room, *size) < sizeof(family)) return 0;
  std::memcpy(&family, address, sizeof(family));
  if (family != AF_UNIX) return 0;
  ucred user = {};
  socklen_t user_size = sizeof(user);
  uint64_t cookie = 0;
  socklen_t cookie_size = sizeof(cookie);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &user_size) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &cookie_size) != 0) {
    return -1;
  }
  sockaddr_un named = {};
  named.sun_family = AF_UNIX;
  const int length = std::snprintf(named.sun_path, sizeof(named.sun_path), "%ju/%ju",
                                   uintmax_t{user.uid}, uintmax_t{cookie});
  *size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path)) + static_cast<socklen_t>(length) + 1;
  std::memcpy(address, &named, std::min(room, *size));
  return 0;
}

}  // namespace token_sampler

// Replaces the C library's function, as a preloaded library does.
extern "C" int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept {
  return token_sampler::PeerName(fd, address, size);
}
