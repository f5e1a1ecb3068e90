// Sockets that listen, and the file that a Unix socket is.

#ifndef TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_SOCKET_H_
#define TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_SOCKET_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/listener/descriptors.h"
#include "server/listener/listen_address.h"

namespace token_sampler {

// Who may connect to a Unix socket.
struct SocketAccess {
  std::optional<mode_t> mode;  // none: what the process's umask leaves of 0777
  std::string group;           // a name or a number; empty: the process's own
};

// "0660" or empty, which is none. InvalidArgument for anything else.
absl::StatusOr<std::optional<mode_t>> ParseSocketMode(const std::string& text);

// The path of a Unix socket that this process alone may listen on. PATH.lock, locked as long as
// this lives, tells others; it goes at the end, and so does the socket.
class SocketPath {
 public:
  // Removes a socket that nobody listens on any more. AlreadyExists when somebody does, or when the
  // path is something else than a socket.
  static absl::StatusOr<SocketPath> Take(const std::string& path);

  SocketPath(SocketPath&&) = default;
  SocketPath& operator=(SocketPath&&) = delete;
  ~SocketPath();

  // A socket that listens at the path.
  absl::StatusOr<Descriptor> Listen(const SocketAccess& access);

 private:
  SocketPath(std::string path, Descriptor lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  Descriptor lock_;  // none once moved from
  dev_t device_ = 0;
  ino_t inode_ = 0;  // of the socket, once it is there
};

// The sockets that serve one address.
struct Listening {
  std::vector<Descriptor> sockets;      // non-blocking; a name may stand for several addresses
  std::optional<SocketPath> unix_path;  // let go when nothing is accepted any more
  std::string address;                  // with the port that was bound
};

// Listens. Unavailable or AlreadyExists names the address and what is wrong.
absl::StatusOr<Listening> Listen(const std::string& address, const SocketAccess& access);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_SOCKET_H_
