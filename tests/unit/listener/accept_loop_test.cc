// Tests accepting within bounds: what is refused, what the loop survives, and how it notices the
// end of a connection.

#include "server/listener/accept_loop.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/listener/listen_socket.h"
#include "tests/testing/eventually.h"

namespace token_sampler {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;

TimePoint Soon() { return std::chrono::system_clock::now() + std::chrono::seconds(60); }

// Records the events of the loop and the connections that it accepted.
class Told {
 public:
  AcceptEvents Events() {
    return {.accepted =
                [this](AcceptLoop&, Descriptor connection, const std::string&) {
                  MutexLock lock(mutex_);
                  connections_.push_back(std::move(connection));
                  changed_.NotifyAll();
                },
            .ended =
                [this](int, int watched) {
                  std::function<void()> call;
                  {
                    MutexLock lock(mutex_);
                    ended_.push_back(watched);
                    changed_.NotifyAll();
                    call = on_end_;
                  }
                  if (call != nullptr) call();
                },
            .look =
                [this](int, int) {
                  MutexLock lock(mutex_);
                  return verdict_;
                },
            .between_looks = std::chrono::milliseconds(5),
            .warn =
                [this](const std::string& message) {
                  MutexLock lock(mutex_);
                  warning_ = message;
                  changed_.NotifyAll();
                },
            .listener_died =
                [this](const std::string& reason) {
                  MutexLock lock(mutex_);
                  death_ = reason;
                  changed_.NotifyAll();
                }};
  }

  void AwaitConnections(size_t count) {
    MutexLock lock(mutex_);
    while (connections_.size() < count) changed_.Wait(mutex_);
  }

  std::string AwaitWarning() {
    MutexLock lock(mutex_);
    while (warning_.empty()) changed_.Wait(mutex_);
    return std::exchange(warning_, "");
  }

  std::string AwaitDeath() {
    MutexLock lock(mutex_);
    while (death_.empty()) changed_.Wait(mutex_);
    return death_;
  }

  // Makes `call` run at the end of every connection from now on.
  void OnEnd(std::function<void()> call) {
    MutexLock lock(mutex_);
    on_end_ = std::move(call);
  }

  // Makes this the verdict on every connection from now on.
  void Judge(const std::string& verdict) {
    MutexLock lock(mutex_);
    verdict_ = verdict;
  }

  // Returns the loop's descriptors of connections that have ended.
  std::vector<int> AwaitEnds(size_t count) {
    MutexLock lock(mutex_);
    while (ended_.size() < count) changed_.Wait(mutex_);
    return ended_;
  }

  // Ends the i-th connection but keeps its descriptor, like gRPC does for a while.
  void Shutdown(size_t i) {
    MutexLock lock(mutex_);
    shutdown(connections_[i].get(), SHUT_RDWR);
  }

  // Ends the i-th connection, like gRPC.
  void End(size_t i) {
    MutexLock lock(mutex_);
    shutdown(connections_[i].get(), SHUT_RDWR);
    connections_[i].Reset();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<Descriptor> connections_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_end_ ABSL_GUARDED_BY(mutex_);
  std::string verdict_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> ended_ ABSL_GUARDED_BY(mutex_);
  std::string warning_ ABSL_GUARDED_BY(mutex_);
  std::string death_ ABSL_GUARDED_BY(mutex_);
};

class AcceptLoopTest : public ::testing::Test {
 protected:
  void Start(uint64_t max_connections, uint64_t max_per_peer, uint64_t max_rate = 1000) {
    absl::StatusOr<Listening> listening = Listen("127.0.0.1:0", {});
    ASSERT_TRUE(listening.ok()) << listening.status();
    listener_ = listening->sockets[0].get();
    socklen_t size = sizeof(address_);
    ASSERT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
    loop_ = std::make_unique<AcceptLoop>(std::move(listening->sockets),
                                         AcceptLimits{max_connections, max_per_peer, max_rate},
                                         told_.Events());
  }

  Descriptor Connect() {
    Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    return fd;
  }

  // Waits until the other side ends the connection or sends something. True if it ended.
  static bool IsEnded(const Descriptor& fd) {
    char byte = 0;
    return recv(fd.get(), &byte, 1, 0) <= 0;
  }

  std::string NameOf(const Descriptor& client) {
    sockaddr_in own = {};
    socklen_t size = sizeof(own);
    getsockname(client.get(), reinterpret_cast<sockaddr*>(&own), &size);
    return "ipv4:127.0.0.1:" + std::to_string(ntohs(own.sin_port));
  }

  Told told_;
  int listener_ = -1;
  sockaddr_in address_ = {};
  std::unique_ptr<AcceptLoop> loop_;
};

TEST_F(AcceptLoopTest, ClosesWhatComesBeyondTheBound) {
  Start(2, 2);
  const Descriptor first = Connect();
  const Descriptor second = Connect();
  told_.AwaitConnections(2);
  const Descriptor third = Connect();
  EXPECT_TRUE(IsEnded(third));
  EXPECT_THAT(told_.AwaitWarning(), HasSubstr("--max-connections"));
  EXPECT_EQ(loop_->counters().open, 2u);
  EXPECT_EQ(loop_->counters().refused, 1u);
}

TEST_F(AcceptLoopTest, BoundsTheConnectionsOfOnePeer) {
  Start(10, 1);
  const Descriptor first = Connect();
  told_.AwaitConnections(1);
  const Descriptor second = Connect();
  EXPECT_TRUE(IsEnded(second));
  EXPECT_THAT(told_.AwaitWarning(),
              HasSubstr("127.0.0.1 has reached its limit of open connections"));
}

TEST_F(AcceptLoopTest, BoundsTheRateOfOnePeer) {
  Start(10, 2, 1);
  for (size_t i = 0; i < 2; ++i) {
    const Descriptor client = Connect();
    told_.AwaitConnections(i + 1);
    told_.End(i);
    EXPECT_TRUE(IsEnded(client));
  }
  const Descriptor third = Connect();
  EXPECT_TRUE(IsEnded(third));
  EXPECT_EQ(
      told_.AwaitWarning(),
      "connections refused: 1, the last because 127.0.0.1 opens connections faster than allowed "
      "(--max-connection-rate)");
}

TEST_F(AcceptLoopTest, KnowsWhichPeersAreConnected) {
  Start(2, 2);
  const Descriptor client = Connect();
  told_.AwaitConnections(1);
  EXPECT_TRUE(loop_->IsConnected(NameOf(client)));
  EXPECT_FALSE(loop_->IsConnected("ipv4:127.0.0.1:1"));
  told_.End(0);
  ASSERT_TRUE(loop_->AwaitNone(Soon()));
  EXPECT_FALSE(loop_->IsConnected(NameOf(client)));
}

// Like a thread that receives the last bytes of a connection, which are an attack.
TEST_F(AcceptLoopTest, MayBeCalledWhileItTellsOfAnEnd) {
  Start(2, 2);
  const Descriptor client = Connect();
  told_.AwaitConnections(1);
  told_.OnEnd([this] { loop_->Shun("somebody", Soon()); });
  told_.End(0);
  EXPECT_TRUE(loop_->AwaitNone(Soon()));
}

TEST_F(AcceptLoopTest, ClosesWhatALookCondemns) {
  Start(2, 2);
  const Descriptor client = Connect();
  told_.AwaitConnections(1);
  told_.Judge("it stands still");
  EXPECT_TRUE(IsEnded(client));
  EXPECT_EQ(told_.AwaitWarning(), "connection closed: it stands still (peer 127.0.0.1)");
}

TEST_F(AcceptLoopTest, AConnectionThatEndsMakesRoom) {
  Start(1, 1);
  for (size_t i = 0; i < 20; ++i) {
    const Descriptor client = Connect();
    told_.AwaitConnections(i + 1);
    told_.End(i);
    EXPECT_TRUE(IsEnded(client));
    ASSERT_TRUE(loop_->AwaitNone(Soon()));
  }
  EXPECT_EQ(loop_->counters().accepted, 20u);
}

TEST_F(AcceptLoopTest, NoticesAPeerThatResets) {
  Start(1, 1);
  Descriptor client = Connect();
  told_.AwaitConnections(1);
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  client.Reset();
  EXPECT_TRUE(loop_->AwaitNone(Soon()));
}

// The socket may have another event after its end was noticed, when its number may belong to
// another file.
TEST_F(AcceptLoopTest, LeavesAnEndedConnectionsNumberToOthers) {
  Start(100, 100);
  Descriptor client = Connect();
  told_.AwaitConnections(1);
  told_.Shutdown(0);
  const int watched = told_.AwaitEnds(1)[0];
  ASSERT_TRUE(loop_->AwaitNone(Soon()));
  // A pipe whose other end is closed gets the number.
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  ASSERT_EQ(dup2(pipe_ends[0], watched), watched);
  const Descriptor other(watched);
  for (const int end : pipe_ends) {
    if (end != watched) close(end);
  }
  client.Reset();  // the socket's second event

  client = Connect();
  told_.AwaitConnections(2);
  told_.End(1);
  ASSERT_TRUE(loop_->AwaitNone(Soon()));
  EXPECT_EQ(told_.AwaitEnds(2).size(), 2u);
  EXPECT_NE(fcntl(watched, F_GETFD), -1);
}

TEST_F(AcceptLoopTest, ShunsAPeerForAWhile) {
  Start(5, 5);
  const Descriptor first = Connect();
  told_.AwaitConnections(1);
  loop_->Shun("127.0.0.1", Soon());
  EXPECT_TRUE(IsEnded(Connect()));
  EXPECT_THAT(told_.AwaitWarning(), HasSubstr("127.0.0.1 has just misused another connection"));
  EXPECT_EQ(loop_->counters().open, 1u);
  loop_->Shun("127.0.0.1", std::chrono::system_clock::now());
  const Descriptor later = Connect();
  told_.AwaitConnections(2);
}

TEST_F(AcceptLoopTest, EndsTheConnectionThatIsNamed) {
  Start(2, 2);
  const Descriptor first = Connect();
  const Descriptor second = Connect();
  told_.AwaitConnections(2);
  EXPECT_TRUE(loop_->Close(NameOf(first)));
  EXPECT_TRUE(IsEnded(first));
  EXPECT_FALSE(loop_->Close("ipv4:127.0.0.1:1"));
  EXPECT_TRUE(Eventually([this] { return loop_->counters().open == 1; }));
}

// Lowers the limit to the number of open descriptors, so that the next accept finds none left.
TEST_F(AcceptLoopTest, AcceptsAgainAfterDescriptorsRanOut) {
  Start(1000, 1000);
  Descriptor waiting[3];
  for (Descriptor& client : waiting) {
    client = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const Descriptor lowest(open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest.get());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (const Descriptor& client : waiting) {
    EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    EXPECT_TRUE(IsEnded(client));
  }
  EXPECT_THAT(told_.AwaitWarning(), HasSubstr("Too many open files"));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  const Descriptor later = Connect();
  told_.AwaitConnections(1);
  EXPECT_EQ(loop_->counters().open, 1u);
}

TEST_F(AcceptLoopTest, TellsThatAListenerDied) {
  Start(1, 1);
  shutdown(listener_, SHUT_RDWR);
  EXPECT_EQ(told_.AwaitDeath(), "Invalid argument");
}

TEST_F(AcceptLoopTest, AcceptsNothingOnceItIsToldTo) {
  Start(5, 5);
  const Descriptor first = Connect();
  told_.AwaitConnections(1);
  loop_->StopAccepting();
  const Descriptor late(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(connect(late.get(), reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
  EXPECT_EQ(errno, ECONNREFUSED);
  EXPECT_FALSE(loop_->AwaitNone(std::chrono::system_clock::now()));
  told_.End(0);
  EXPECT_TRUE(loop_->AwaitNone(Soon()));
}

TEST(ConnectionTableTest, NamesAreThoseOfGrpc) {
  ConnectionTable table(3, 3);
  table.Add(5, {.group = "::/64", .name = "ipv6:[::1]:7", .connection = 4});
  EXPECT_EQ(table.NumberOf(5), 4);
  EXPECT_EQ(table.NumberOf(4), -1);
  EXPECT_EQ(table.Find("ipv6:%5B::1%5D:7"), 5);
  EXPECT_EQ(table.Find("ipv6:[::1]:8"), -1);
  table.Remove(5);
  EXPECT_EQ(table.Find("ipv6:%5B::1%5D:7"), -1);
  EXPECT_EQ(table.size(), 0u);
}

TEST(DescriptorsTest, LeavesRoomForOtherThings) {
  EXPECT_EQ(ConnectionsWithin(20'000, 1'000, 4'096), 4'096u);
  EXPECT_EQ(ConnectionsWithin(4'096, 1'096, 4'096), 1'500u);
  EXPECT_EQ(ConnectionsWithin(1'024, 5'000, 4'096), 256u);
  EXPECT_EQ(ConnectionsWithin(2, 0, 0), 1u);
}

}  // namespace
}  // namespace token_sampler
