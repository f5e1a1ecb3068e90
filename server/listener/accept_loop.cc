#include "server/listener/accept_loop.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

constexpr int kEvents = 64;
// Most connections that are accepted from one listener before other events get their turn.
constexpr int kAcceptsAtOnce = 64;
// How long the listeners are left alone after descriptors or memory ran out.
constexpr int kPauseMs = 50;
constexpr std::chrono::seconds kBetweenWarnings{1};
constexpr int kNoListener = -2;
constexpr size_t kMaxShunned = 10'000;

// True for errors of accept that concern only the connection, not the listener.
bool IsOfConnection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

bool IsOfResources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

Descriptor Spare() { return Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

AcceptLoop::AcceptLoop(std::vector<Descriptor> listeners, const AcceptLimits& limits,
                       AcceptEvents events)
    : events_(std::move(events)),
      rate_(limits.max_rate, std::max(limits.max_per_peer, limits.max_rate)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(Spare()),
      listeners_(std::move(listeners)),
      table_(limits.max_connections, limits.max_per_peer) {
  Watch(wake_.get(), EPOLLIN);
  for (const Descriptor& listener : listeners_) Watch(listener.get(), EPOLLIN);
  thread_ = std::thread([this] { Run(); });
}

AcceptLoop::~AcceptLoop() {
  StopAccepting();
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  static_cast<void>(write(wake_.get(), &one, sizeof(one)));
  thread_.join();
  MutexLock lock(mutex_);
  for (const int watched : table_.All()) close(watched);
}

void AcceptLoop::StopAccepting() {
  MutexLock lock(mutex_);
  listeners_.clear();
}

bool AcceptLoop::Close(absl::string_view name) {
  // Under the lock, the descriptor remains this connection's.
  MutexLock lock(mutex_);
  const int fd = table_.Find(name);
  return fd >= 0 && shutdown(fd, SHUT_RDWR) == 0;
}

bool AcceptLoop::IsConnected(absl::string_view name) const {
  MutexLock lock(mutex_);
  return table_.Find(name) >= 0;
}

void AcceptLoop::Shun(const std::string& group, TimePoint until) {
  MutexLock lock(mutex_);
  // With so many groups, forget all: the bounds on connections still hold.
  if (shunned_.size() >= kMaxShunned) shunned_.clear();
  shunned_[group] = until;
}

bool AcceptLoop::IsShunned(const std::string& group) {
  const auto found = shunned_.find(group);
  if (found == shunned_.end()) return false;
  if (found->second > std::chrono::system_clock::now()) return true;
  shunned_.erase(found);
  return false;
}

bool AcceptLoop::AwaitNone(TimePoint deadline) {
  MutexLock lock(mutex_);
  while (table_.size() > 0 && none_left_.WaitUntil(mutex_, deadline)) {
  }
  return table_.size() == 0;
}

AcceptCounters AcceptLoop::counters() const {
  MutexLock lock(mutex_);
  AcceptCounters counters = counters_;
  counters.open = table_.size();
  return counters;
}

void AcceptLoop::Watch(int fd, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void AcceptLoop::Run() {
  epoll_event events[kEvents];
  for (;;) {
    const int look_ms = LookWhenDue();
    const int count = epoll_wait(epoll_.get(), events, kEvents, paused_ ? kPauseMs : look_ms);
    std::vector<int> listeners;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      for (const Descriptor& listener : listeners_) listeners.push_back(listener.get());
    }
    if (std::exchange(paused_, false)) {
      for (const int listener : listeners) Watch(listener, EPOLLIN);
    }
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) continue;
      if (std::find(listeners.begin(), listeners.end(), fd) != listeners.end()) {
        Accept(fd);
      } else {
        ForgetIfEnded(fd);
      }
    }
  }
}

void AcceptLoop::Accept(int listener) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    if (!AcceptOne(listener)) return;
  }
}

int AcceptLoop::AcceptFrom(int listener) {
  // Under the lock, so that the number cannot belong to another file by now.
  MutexLock lock(mutex_);
  const bool known =
      std::any_of(listeners_.begin(), listeners_.end(),
                  [&](const Descriptor& candidate) { return candidate.get() == listener; });
  if (!known) return kNoListener;
  return accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

bool AcceptLoop::AcceptOne(int listener) {
  const int fd = AcceptFrom(listener);
  if (fd == kNoListener) return false;
  if (fd >= 0) {
    Admit(Descriptor(fd));
    return true;
  }
  const int error = errno;
  if (error == EAGAIN) return false;
  if (IsOfConnection(error)) return true;
  if (!IsOfResources(error)) {
    EndListener(listener, error);
    return false;
  }
  CountRefusal(std::strerror(error));
  if (RefuseWithoutDescriptor(listener)) return true;
  Pause();
  return false;
}

void AcceptLoop::Admit(Descriptor connection) {
  Peer peer = Peer::Of(connection.get());
  if (peer.group.empty()) return;  // gone already
  if (!rate_.Take(peer.group, std::chrono::steady_clock::now())) {
    return CountRefusal(
        absl::StrCat(peer.group, " opens connections faster than allowed (--max-connection-rate)"));
  }
  // Keep a second descriptor: the number of one that gRPC closes may soon be another file's.
  Descriptor watched(fcntl(connection.get(), F_DUPFD_CLOEXEC, 0));
  if (!watched) return CountRefusal(std::strerror(errno));
  const std::string& group = peer.group;
  peer.connection = connection.get();
  ConnectionTable::Refusal refusal;
  bool shunned = false;
  {
    MutexLock lock(mutex_);
    shunned = IsShunned(group);
    refusal = table_.Check(group);
    if (!shunned && refusal == ConnectionTable::Refusal::kNone) {
      table_.Add(watched.get(), peer);
      ++counters_.accepted;
    }
  }
  if (shunned) return CountRefusal(absl::StrCat(group, " has just misused another connection"));
  switch (refusal) {
    case ConnectionTable::Refusal::kTooMany:
      return CountRefusal("the limit of open connections is reached (--max-connections)");
    case ConnectionTable::Refusal::kTooManyOfPeer:
      return CountRefusal(absl::StrCat(
          group, " has reached its limit of open connections (--max-connections-per-peer)"));
    case ConnectionTable::Refusal::kNone:
      break;
  }
  // Reports only the end of the connection, and only once.
  Watch(watched.Release(), EPOLLET);
  events_.accepted(*this, std::move(connection), group);
}

bool AcceptLoop::RefuseWithoutDescriptor(int listener) {
  spare_.Reset();
  const int refused = AcceptFrom(listener);
  const bool accepted = refused >= 0;
  if (accepted) close(refused);
  spare_ = Spare();
  return accepted;
}

void AcceptLoop::CountRefusal(const std::string& why) {
  {
    MutexLock lock(mutex_);
    ++counters_.refused;
  }
  ++refused_unwarned_;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_warning_) return;
  next_warning_ = now + kBetweenWarnings;
  events_.warn(absl::StrCat("connections refused: ", std::exchange(refused_unwarned_, 0),
                            ", the last because ", why));
}

void AcceptLoop::ForgetIfEnded(int watched) {
  pollfd state = {.fd = watched, .events = 0, .revents = 0};
  if (poll(&state, 1, 0) != 1 || (state.revents & POLLHUP) == 0) return;
  int connection = -1;
  {
    MutexLock lock(mutex_);
    connection = table_.NumberOf(watched);
  }
  if (connection < 0) return;
  // Without the lock: a thread that receives on the connection may be waiting for it in Shun().
  events_.ended(connection, watched);
  MutexLock lock(mutex_);
  table_.Remove(watched);
  // While gRPC holds the socket, closing this descriptor does not end the watch: a later event
  // would name whatever file has the number by then.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watched, nullptr);
  close(watched);
  if (table_.size() == 0) none_left_.NotifyAll();
}

int AcceptLoop::LookWhenDue() {
  if (events_.look == nullptr) return -1;
  const auto now = std::chrono::steady_clock::now();
  if (now >= next_look_) {
    next_look_ = now + events_.between_looks;
    std::vector<int> all;
    {
      MutexLock lock(mutex_);
      all = table_.All();
    }
    for (const int watched : all) Look(watched);
  }
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(next_look_ - now).count());
}

void AcceptLoop::Look(int watched) {
  // Only this thread adds and removes connections.
  int connection = -1;
  std::string group;
  {
    MutexLock lock(mutex_);
    connection = table_.NumberOf(watched);
    group = table_.GroupOf(watched);
  }
  const std::string reason = events_.look(connection, watched);
  if (reason.empty()) return;
  // Have the system drop unsent data when the last descriptor is closed.
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(watched, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  shutdown(watched, SHUT_RDWR);
  events_.warn(absl::StrCat("connection closed: ", reason, " (peer ", group, ")"));
}

void AcceptLoop::Pause() {
  MutexLock lock(mutex_);
  for (const Descriptor& listener : listeners_) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener.get(), nullptr);
  }
  paused_ = true;
}

void AcceptLoop::EndListener(int listener, int error) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener, nullptr);
  events_.listener_died(std::strerror(error));
}

}  // namespace token_sampler
