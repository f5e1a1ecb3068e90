// Tests the end of guarded sockets, and that no other sockets are guarded.

#include "server/listener/frames/guarded_connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>

#include "tests/unit/listener/frames.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;

// The two ends of a connection; the server's is guarded.
class GuardedConnectionTest : public ::testing::Test {
 protected:
  ~GuardedConnectionTest() override {
    for (const int end : {server_, client_}) {
      if (end >= 0) close(end);
    }
  }

  void Connect() {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    server_ = ends[0];
    client_ = ends[1];
  }

  void Guard(const FrameLimits& limits) {
    GuardConnection(server_, limits, [this](const std::string& reason) { attack_ = reason; });
  }

  void ClientSends(const std::string& bytes) {
    ASSERT_EQ(write(client_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  // Returns the result of one recvmsg.
  ssize_t ServerReceives() {
    char bytes[4096];
    iovec piece = {bytes, sizeof bytes};
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return recvmsg(server_, &message, 0);
  }

  // Returns everything that the client receives until the end of the connection.
  std::string ClientReceives() {
    std::string all;
    char bytes[4096];
    for (ssize_t count = 0; (count = read(client_, bytes, sizeof bytes)) > 0;) {
      all.append(bytes, static_cast<size_t>(count));
    }
    return all;
  }

  int server_ = -1;
  int client_ = -1;
  std::string attack_;
};

// A frame that carries nothing, which the limits below forbid.
const std::string kAttack = kPreface + Frame(kPing, 0, 0, "12345678");
const FrameLimits kNoIdleFrames = {.max_idle_frames = 0, .receipt = nullptr};

TEST_F(GuardedConnectionTest, AnAttackIsNotReceived) {
  Connect();
  Guard(kNoIdleFrames);
  ClientSends(kAttack);
  EXPECT_EQ(ServerReceives(), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(attack_, "sends too many frames that carry nothing");
  EXPECT_EQ(ClientReceives(), "");
}

TEST_F(GuardedConnectionTest, TheNextSocketOfItsNumberIsNotGuarded) {
  Connect();
  Guard(kNoIdleFrames);
  const int number = server_;
  close(client_);
  close(server_);
  Connect();
  ASSERT_EQ(server_, number);
  ClientSends(kAttack);
  EXPECT_EQ(ServerReceives(), static_cast<ssize_t>(kAttack.size()));
  EXPECT_EQ(attack_, "");
}

TEST_F(GuardedConnectionTest, TheNextConnectionOfItsNumberIsGuardedByItself) {
  Connect();
  Guard({});
  const int number = server_;
  close(client_);
  close(server_);
  Connect();
  ASSERT_EQ(server_, number);
  Guard(kNoIdleFrames);
  ClientSends(kAttack);
  EXPECT_EQ(ServerReceives(), -1);
  EXPECT_EQ(attack_, "sends too many frames that carry nothing");
}

TEST_F(GuardedConnectionTest, AnIdleConnectionIsToldThatItEnds) {
  Connect();
  Guard({.max_idle = milliseconds(-1), .receipt = nullptr});
  ClientSends(kPreface + Frame(kSettings, 0, 0) + Begin(5) + Frame(kReset, 0, 5, Number(8, 4)));
  ASSERT_GT(ServerReceives(), 0);
  EXPECT_EQ(LookAtConnection(server_, server_), "");
  // Names the last stream that began, and no error.
  EXPECT_EQ(ClientReceives(), Frame(kGoaway, 0, 0, Number(5, 4) + Number(0, 4)));
}

TEST_F(GuardedConnectionTest, AConnectionWithACallIsNotIdle) {
  Connect();
  Guard({.max_idle = milliseconds(0), .receipt = nullptr});
  ClientSends(kPreface + Frame(kSettings, 0, 0) + Begin(5));
  ASSERT_GT(ServerReceives(), 0);
  EXPECT_EQ(LookAtConnection(server_, server_), "");
  ClientSends(Frame(kPing, 0, 0, "12345678"));
  EXPECT_GT(ServerReceives(), 0);
}

}  // namespace
}  // namespace token_sampler
