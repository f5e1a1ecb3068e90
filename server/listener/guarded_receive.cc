#include "server/listener/guarded_receive.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "server/batching/mutex.h"

namespace token_sampler {
namespace {

struct Guarded {
  Guarded(uint64_t number, const FrameLimits& limits, OnFrameAttack attacked)
      : cookie(number), on_attack(std::move(attacked)), guard(limits) {}

  const uint64_t cookie;
  const OnFrameAttack on_attack;
  Mutex mutex;  // nearly always free: one thread receives at a time
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
// and then nobody receives on the old one any more.
constexpr int kMaxDescriptors = 1 << 20;
std::array<std::atomic<Guarded*>, kMaxDescriptors>& Table() {
  static auto& table = *new std::array<std::atomic<Guarded*>, kMaxDescriptors>();
  return table;
}

// True when the connection may go on.
bool Check(Guarded& guarded, const msghdr& message, size_t received) {
  MutexLock lock(guarded.mutex);
  const FrameGuard::Time now = std::chrono::steady_clock::now();
  for (size_t i = 0; i < message.msg_iovlen && received > 0; ++i) {
    const iovec& piece = message.msg_iov[i];
    const size_t size = std::min(received, piece.iov_len);
    const absl::string_view wrong =
        guarded.guard.Take({static_cast<const uint8_t*>(piece.iov_base), size}, now);
    if (!wrong.empty()) {
      guarded.on_attack(std::string(wrong));
      return false;
    }
    received -= size;
  }
  return true;
}

ssize_t Receive(int fd, msghdr* message, int flags) {
  const ssize_t received = syscall(SYS_recvmsg, fd, message, flags);
  if (received <= 0 || fd >= kMaxDescriptors || (flags & MSG_PEEK) != 0) return received;
  Guarded* const guarded = Table()[static_cast<size_t>(fd)].load(std::memory_order_acquire);
  if (guarded == nullptr || guarded->cookie != CookieOf(fd) ||
      Check(*guarded, *message, static_cast<size_t>(received))) {
    return received;
  }
  shutdown(fd, SHUT_RDWR);
  errno = ECONNRESET;
  return -1;
}

}  // namespace

void GuardConnection(int fd, const FrameLimits& limits, OnFrameAttack on_attack) {
  if (fd >= kMaxDescriptors) return;
  auto guarded = std::make_unique<Guarded>(CookieOf(fd), limits, std::move(on_attack));
  delete Table()[static_cast<size_t>(fd)].exchange(guarded.release(), std::memory_order_acq_rel);
}

void ReleaseConnection(int connection, int same) {
  if (connection >= kMaxDescriptors) return;
  Guarded* const guarded = Table()[static_cast<size_t>(connection)].load(std::memory_order_acquire);
  if (guarded == nullptr || guarded->cookie != CookieOf(same)) return;
  MutexLock lock(guarded->mutex);
  guarded->guard.End();
}

}  // namespace token_sampler

// Takes the place of the C library's, as preloaded libraries do: gRPC has no hook between a socket
// and its parser, and what the parser allocates cannot be taken back.
extern "C" ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return token_sampler::Receive(fd, message, flags);
}
