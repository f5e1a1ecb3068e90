#include "server/listener/listen_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

// The kernel uses net.core.somaxconn if that is less.
constexpr int kBacklog = 4096;
// A peer that acknowledges none of what was sent to it for this long is gone.
constexpr unsigned kUserTimeoutMs = 60'000;

std::string Because(int error) { return absl::StrCat(": ", std::strerror(error)); }

absl::Status Taken(const std::string& path) {
  return absl::AlreadyExistsError(
      absl::StrCat("--listen unix:", path, ": another server listens there"));
}

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());  // parsed: it fits
  return address;
}

// False only when the system says that nobody listens: a socket that cannot be tried is left alone.
bool MaySomebodyListen(const std::string& path) {
  const sockaddr_un address = UnixAddress(path);
  const Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return true;
  const int result =
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return result == 0 || errno != ECONNREFUSED;
}

absl::Status ClearStaleSocket(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat("--listen unix:", path, ": the path exists and is not a socket"));
  }
  if (MaySomebodyListen(path)) return Taken(path);
  unlink(path.c_str());
  return absl::OkStatus();
}

// True when the path still names the open file `fd`.
bool IsSameFile(const std::string& path, int fd) {
  struct stat open_file;
  struct stat file;
  return fstat(fd, &open_file) == 0 && stat(path.c_str(), &file) == 0 &&
         open_file.st_dev == file.st_dev && open_file.st_ino == file.st_ino;
}

absl::StatusOr<gid_t> GroupId(const std::string& group) {
  if (const ::group* known = getgrnam(group.c_str()); known != nullptr) return known->gr_gid;
  uint32_t number = 0;
  if (absl::SimpleAtoi(group, &number)) return number;
  return absl::InvalidArgumentError(
      absl::StrCat("--socket-group must be a group of this machine, got ", group));
}

// Listens on one of the addresses that a name stands for. NotFound when this machine has no such
// address.
absl::StatusOr<Descriptor> ListenOn(const addrinfo& address) {
  Descriptor fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return absl::NotFoundError(std::strerror(errno));
  const int on = 1;
  const int off = 0;
  // SO_REUSEADDR takes a port whose last connections are not over yet, but none that has a
  // listener. Connections inherit the options set here.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof(kUserTimeoutMs));
  if (address.ai_family == AF_INET6) {
    // [::] takes IPv4 too.
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  }
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) {
    const bool absent = errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT;
    return absl::Status(absent ? absl::StatusCode::kNotFound : absl::StatusCode::kUnavailable,
                        std::strerror(errno));
  }
  return fd;
}

uint16_t& Port(sockaddr& address) {
  return address.sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                       : reinterpret_cast<sockaddr_in&>(address).sin_port;
}

uint16_t BoundPort(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(Port(reinterpret_cast<sockaddr&>(address)));
}

// Listens on those of the host's addresses that this machine has. NotFound when it has none of
// them.
absl::StatusOr<std::vector<Descriptor>> ListenOnHost(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &first);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(first, freeaddrinfo);
  std::vector<Descriptor> sockets;
  absl::Status absent;
  for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
    // All addresses use the port that the first one got.
    Port(*entry->ai_addr) = htons(port);
    absl::StatusOr<Descriptor> fd = ListenOn(*entry);
    if (fd.ok()) {
      port = BoundPort(fd->get());
      sockets.push_back(*std::move(fd));
    } else if (absl::IsNotFound(fd.status())) {
      absent = fd.status();
    } else {
      return fd.status();
    }
  }
  if (sockets.empty()) return absent;
  return sockets;
}

absl::StatusOr<Listening> ListenOnTcp(const std::string& address, const ListenAddress& parsed) {
  // Use IPv6 for any address, which takes IPv4 too, unless this machine has only IPv4.
  const bool any = parsed.host == "0.0.0.0" || parsed.host == "::";
  absl::StatusOr<std::vector<Descriptor>> sockets =
      ListenOnHost(any ? "::" : parsed.host, parsed.port);
  if (any && absl::IsNotFound(sockets.status())) sockets = ListenOnHost("0.0.0.0", parsed.port);
  if (!sockets.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ": ", sockets.status().message()));
  }
  Listening listening;
  listening.sockets = *std::move(sockets);
  listening.address = BoundAddress(address, BoundPort(listening.sockets.front().get()));
  return listening;
}

absl::StatusOr<Listening> ListenOnUnix(const std::string& address, const std::string& path,
                                       const SocketAccess& access) {
  ASSIGN_OR_RETURN(SocketPath taken, SocketPath::Take(path));
  ASSIGN_OR_RETURN(Descriptor fd, taken.Listen(access));
  Listening listening;
  listening.sockets.push_back(std::move(fd));
  listening.unix_path.emplace(std::move(taken));
  listening.address = address;
  return listening;
}

}  // namespace

absl::StatusOr<std::optional<mode_t>> ParseSocketMode(const std::string& text) {
  if (text.empty()) return std::nullopt;
  mode_t mode = 0;
  for (const char digit : text) {
    mode = digit >= '0' && digit <= '7' ? mode * 8 + static_cast<mode_t>(digit - '0') : 01000;
    if (mode > 0777) {
      return absl::InvalidArgumentError(
          absl::StrCat("--socket-mode must be in [0, 0777], in octal, got ", text));
    }
  }
  return mode;
}

absl::StatusOr<SocketPath> SocketPath::Take(const std::string& path) {
  const std::string lock_path = absl::StrCat(path, ".lock");
  for (;;) {
    Descriptor lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) {
      return absl::UnavailableError(
          absl::StrCat("--listen unix:", path, ": cannot create ", lock_path, Because(errno)));
    }
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return Taken(path);
    // The previous holder of the lock may have removed the file.
    if (!IsSameFile(lock_path, lock.get())) continue;
    SocketPath taken(path, std::move(lock));
    RETURN_IF_ERROR(ClearStaleSocket(path));
    return taken;
  }
}

SocketPath::~SocketPath() {
  if (!lock_) return;
  struct stat info;
  const bool own = inode_ != 0 && lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ &&
                   info.st_ino == inode_;
  if (own) unlink(path_.c_str());
  unlink(absl::StrCat(path_, ".lock").c_str());
}

absl::StatusOr<Descriptor> SocketPath::Listen(const SocketAccess& access) {
  const auto failed = [&](absl::string_view what) {
    return absl::UnavailableError(
        absl::StrCat("--listen unix:", path_, ": ", what, Because(errno)));
  };
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed("cannot make a socket");
  // The file gets no wider mode than this when it appears; the rest follows below.
  if (access.mode.has_value()) fchmod(fd.get(), *access.mode);
  const sockaddr_un address = UnixAddress(path_);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return failed("cannot bind");
  }
  struct stat info;
  if (lstat(path_.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
  if (!access.group.empty()) {
    ASSIGN_OR_RETURN(const gid_t group, GroupId(access.group));
    if (lchown(path_.c_str(), static_cast<uid_t>(-1), group) != 0) {
      return failed(absl::StrCat("cannot give it to the group ", access.group));
    }
  }
  if (access.mode.has_value() && chmod(path_.c_str(), *access.mode) != 0) {
    return failed("cannot set its mode");
  }
  // Nobody can connect before this.
  if (listen(fd.get(), kBacklog) != 0) return failed("cannot listen");
  return fd;
}

absl::StatusOr<Listening> Listen(const std::string& address, const SocketAccess& access) {
  ASSIGN_OR_RETURN(const ListenAddress parsed, ParseListenAddress(address));
  return parsed.path.empty() ? ListenOnTcp(address, parsed)
                             : ListenOnUnix(address, parsed.path, access);
}

}  // namespace token_sampler
