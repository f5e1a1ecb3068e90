#include "server/listener/guarded_connection.h"

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

struct Guarded {
  Guarded(uint64_t number, const FrameLimits& limits, OnFrameAttack attacked)
      : cookie(number), on_attack(std::move(attacked)), guard(limits) {}

  const uint64_t cookie;
  const OnFrameAttack on_attack;
  Mutex mutex;  // nearly always free: one thread receives at a time, and one sends
  FrameGuard guard ABSL_GUARDED_BY(mutex);
};

// A number that tells this socket from others that had its descriptor or will have it.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  return cookie;
}

// By descriptor; those beyond are not guarded. One is replaced when its number is accepted again,
// and then nobody receives or sends on the old one any more.
constexpr int kMaxDescriptors = 1 << 20;
std::array<std::atomic<Guarded*>, kMaxDescriptors>& Table() {
  static auto& table = *new std::array<std::atomic<Guarded*>, kMaxDescriptors>();
  return table;
}

// Null when the descriptor is not guarded. Keeps errno.
Guarded* Find(int fd, int same) {
  if (fd < 0 || fd >= kMaxDescriptors) return nullptr;
  Guarded* const guarded = Table()[static_cast<size_t>(fd)].load(std::memory_order_acquire);
  if (guarded == nullptr) return nullptr;
  const int error = errno;
  const bool is_same = guarded->cookie == CookieOf(same);
  errno = error;
  return is_same ? guarded : nullptr;
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

// True when the connection may go on.
bool Check(Guarded& guarded, const msghdr& message, size_t received) {
  MutexLock lock(guarded.mutex);
  FrameGuard* const guard = &guarded.guard;  // for the lambda, in which Clang sees no lock
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
  Guarded* const guarded = Find(fd, fd);
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
  Guarded* const guarded = Find(fd, fd);
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

}  // namespace

void GuardConnection(int fd, const FrameLimits& limits, OnFrameAttack on_attack) {
  if (fd >= kMaxDescriptors) return;
  auto guarded = std::make_unique<Guarded>(CookieOf(fd), limits, std::move(on_attack));
  delete Table()[static_cast<size_t>(fd)].exchange(guarded.release(), std::memory_order_acq_rel);
}

std::string LookAtConnection(int connection, int same) {
  Guarded* const guarded = Find(connection, same);
  if (guarded == nullptr) return "";
  MutexLock lock(guarded->mutex);
  return std::string(guarded->guard.Look(std::chrono::steady_clock::now()));
}

void ReleaseConnection(int connection, int same) {
  Guarded* const guarded = Find(connection, same);
  if (guarded == nullptr) return;
  MutexLock lock(guarded->mutex);
  guarded->guard.End();
}

}  // namespace token_sampler

// Take the place of the C library's, as preloaded libraries do: gRPC has no hook between a socket
// and its parser, and what the parser allocates cannot be taken back.
extern "C" ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return token_sampler::Receive(fd, message, flags);
}

extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return token_sampler::Send(fd, message, flags);
}
