// Listening sockets, and the file of a Unix socket.

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
  std::optional<mode_t> mode;  // unset: what the process's umask leaves of 0777
  std::string group;           // a name or a number; empty: the process's own
};

// Parses an octal mode such as "0660", or "" for none. InvalidArgument for anything else.
absl::StatusOr<std::optional<mode_t>> ParseSocketMode(const std::string& text);

// The path of a Unix socket on which only this process may listen. It holds a lock on PATH.lock,
// which keeps other servers away, and removes that file and the socket in the end.
class SocketPath {
 public:
  // Takes the path, and removes a socket there on which nobody listens any more. AlreadyExists when
  // somebody does, or when the path is not a socket.
  static absl::StatusOr<SocketPath> Take(const std::string& path);

  SocketPath(SocketPath&&) = default;
  SocketPath& operator=(SocketPath&&) = delete;
  ~SocketPath();

  // Creates a socket that listens at the path.
  absl::StatusOr<Descriptor> Listen(const SocketAccess& access);

 private:
  SocketPath(std::string path, Descriptor lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  Descriptor lock_;  // none once moved from
  dev_t device_ = 0;
  ino_t inode_ = 0;  // of the socket, once it is bound
};

// The sockets that serve one address.
struct Listening {
  std::vector<Descriptor> sockets;      // non-blocking; a name may stand for several addresses
  std::optional<SocketPath> unix_path;  // destroy it when nothing is accepted any more
  std::string address;                  // with the port that was bound
};

// Listens on the address. Errors name it and what is wrong, such as Unavailable or AlreadyExists.
absl::StatusOr<Listening> Listen(const std::string& address, const SocketAccess& access);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LISTENER_LISTEN_SOCKET_H_
