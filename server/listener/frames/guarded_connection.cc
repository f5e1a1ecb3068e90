#include "server/listener/frames/guarded_connection.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "server/batching/mutex.h"

namespace token_sampler {
namespace {

// A GOAWAY frame: no stream above `last_stream` was begun or will be (RFC 9113, 6.8).
std::array<uint8_t, 17> Goaway(uint32_t last_stream) {
  constexpr uint8_t kPayloadBytes = 8;
  std::array<uint8_t, 17> frame = {0, 0, kPayloadBytes, static_cast<uint8_t>(FrameType::kGoaway)};
  for (size_t i = 0; i < 4; ++i) {
    frame[9 + i] = static_cast<uint8_t>(last_stream >> (24 - 8 * i));
  }
  return frame;
}

struct Guarded {
  Guarded(uint64_t number, const FrameLimits& limits, OnFrameAttack attacked)
      : cookie(number), on_attack(std::move(attacked)), guard(limits) {}

  const uint64_t cookie;
  std::atomic<bool> closed = false;  // its descriptor is: the number may be another file's
  const OnFrameAttack on_attack;
  Mutex mutex;  // nearly always free: one thread receives at a time, and one sends
  FrameGuard guard ABSL_GUARDED_BY(mutex);
};

// A number that distinguishes this socket from earlier and later ones with the same descriptor.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  return cookie;
}

// Guards are found by descriptor; descriptors beyond this are not guarded. A guard is replaced when
// its number is accepted again: by then nobody receives or sends on the old connection.
constexpr int kMaxDescriptors = 1 << 20;
std::atomic_ref<Guarded*> PlaceOf(int fd) {
  // Zero-initialized: close() may look here at any time in the life of the process.
  static std::array<Guarded*, kMaxDescriptors> places;
  return std::atomic_ref<Guarded*>(places[static_cast<size_t>(fd)]);
}

// The latest guard of the number; null when there was none.
Guarded* At(int fd) {
  if (fd < 0 || fd >= kMaxDescriptors) return nullptr;
  return PlaceOf(fd).load(std::memory_order_acquire);
}

// The guard of an open descriptor; null when it is not guarded.
Guarded* Find(int fd) {
  Guarded* const guarded = At(fd);
  return guarded == nullptr || guarded->closed.load(std::memory_order_acquire) ? nullptr : guarded;
}

// The guard of the number, whose descriptor may be closed by now; null unless it is for the socket
// of `same`.
Guarded* Find(int fd, int same) {
  Guarded* const guarded = At(fd);
  return guarded != nullptr && guarded->cookie == CookieOf(same) ? guarded : nullptr;
}

// Calls take(bytes) for each piece of the first `size` bytes, until one returns false.
template <typename Take>
bool ForEachPiece(const msghdr& message, size_t size, const Take& take) {
  for (size_t i = 0; i < message.msg_iovlen && size > 0; ++i) {
    const iovec& piece = message.msg_iov[i];
    const size_t count = std::min(size, piece.iov_len);
    if (!take(absl::MakeConstSpan(static_cast<const uint8_t*>(piece.iov_base), count))) {
      return false;
    }
    size -= count;
  }
  return true;
}

// Shows the guard the first `received` bytes of the message. False when the connection must end.
bool Check(Guarded& guarded, const msghdr& message, size_t received) {
  MutexLock lock(guarded.mutex);
  FrameGuard* const guard = &guarded.guard;  // Clang does not see the lock in the lambda
  const SteadyTime now = std::chrono::steady_clock::now();
  return ForEachPiece(message, received, [&](absl::Span<const uint8_t> bytes) {
    const absl::string_view wrong = guard->Take(bytes, now);
    if (!wrong.empty()) guarded.on_attack(std::string(wrong));
    return wrong.empty();
  });
}

ssize_t Receive(int fd, msghdr* message, int flags) {
  const ssize_t received = syscall(SYS_recvmsg, fd, message, flags);
  if (received <= 0 || (flags & MSG_PEEK) != 0) return received;
  Guarded* const guarded = Find(fd);
  if (guarded == nullptr || Check(*guarded, *message, static_cast<size_t>(received))) {
    return received;
  }
  shutdown(fd, SHUT_RDWR);
  errno = ECONNRESET;
  return -1;
}

ssize_t Send(int fd, const msghdr* message, int flags) {
  const ssize_t result = syscall(SYS_sendmsg, fd, message, flags);
  if (result < 0 && errno != EAGAIN) return result;
  Guarded* const guarded = Find(fd);
  if (guarded == nullptr) return result;
  const size_t sent = result < 0 ? 0 : static_cast<size_t>(result);
  size_t wanted = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) wanted += message->msg_iov[i].iov_len;
  MutexLock lock(guarded->mutex);
  FrameGuard* const guard = &guarded->guard;
  const SteadyTime now = std::chrono::steady_clock::now();
  ForEachPiece(*message, sent, [&](absl::Span<const uint8_t> bytes) {
    guard->Sent(bytes, now);
    return true;
  });
  guard->SocketTook(sent, sent == wanted, now);
  return result;
}

// Marks the guard as closed first: nobody receives or sends on a descriptor that is being closed.
int Close(int fd) {
  if (Guarded* const guarded = Find(fd)) guarded->closed.store(true, std::memory_order_release);
  return static_cast<int>(syscall(SYS_close, fd));
}

}  // namespace

void GuardConnection(int fd, const FrameLimits& limits, OnFrameAttack on_attack) {
  if (fd >= kMaxDescriptors) return;
  auto guarded = std::make_unique<Guarded>(CookieOf(fd), limits, std::move(on_attack));
  delete PlaceOf(fd).exchange(guarded.release(), std::memory_order_acq_rel);
}

std::string LookAtConnection(int connection, int same) {
  Guarded* const guarded = Find(connection, same);
  if (guarded == nullptr) return "";
  MutexLock lock(guarded->mutex);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (guarded->guard.IsIdle(now)) {
    // gRPC has nothing to send on it, so this cuts into no frame.
    const std::array<uint8_t, 17> goaway = Goaway(guarded->guard.last_stream());
    static_cast<void>(send(same, goaway.data(), goaway.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
    shutdown(same, SHUT_RDWR);
    return "";
  }
  return std::string(guarded->guard.Look(now));
}

void ReleaseConnection(int connection, int same) {
  Guarded* const guarded = Find(connection, same);
  if (guarded == nullptr) return;
  MutexLock lock(guarded->mutex);
  guarded->guard.End();
}

}  // namespace token_sampler

// These replace the C library's functions, as preloaded libraries do: gRPC has no hook between a
// socket and its parser, and what the parser allocates cannot be taken back. close() shows when a
// descriptor's number may become another file's.
extern "C" ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return token_sampler::Receive(fd, message, flags);
}

extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return token_sampler::Send(fd, message, flags);
}

extern "C" int close(int fd) { return token_sampler::Close(fd); }
