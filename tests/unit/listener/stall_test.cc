// Tests what may stand still on a connection, and how long.

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/listener/frames/frame_guard.h"
#include "tests/unit/listener/frames.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kWindow = 65'535;

// Ten seconds of patience.
class StallTest : public ::testing::Test {
 protected:
  explicit StallTest(const FrameLimits& limits = {.patience = seconds(10), .receipt = nullptr})
      : guard_(limits) {
    Receive(kPreface + Frame(kSettings, 0, 0) + Frame(kSettings, kAck, 0));
  }

  void Receive(const std::string& bytes) { ASSERT_EQ(guard_.Take(Bytes(bytes), now_), ""); }
  void Send(const std::string& bytes) {
    guard_.Sent(Bytes(bytes), now_);
    guard_.SocketTook(bytes.size(), true, now_);
  }

  // Sends a frame with `bytes` bytes of the server's answer.
  void Answer(uint32_t stream, int bytes) {
    Send(Frame(kData, 0, stream, std::string(static_cast<size_t>(bytes), 'a')));
  }

  // The peer makes a call, and the server begins its answer.
  void Call(uint32_t stream) {
    Receive(Begin(stream) + Frame(kData, kAck, stream, Message(3, 3)));
    Send(Frame(kHeaders, kEndHeaders, stream, "answer"));
  }

  // Returns the verdict after this time, with checks as frequent as they should be.
  std::string After(milliseconds time) {
    for (milliseconds gone{0}; gone < time; gone += milliseconds(500)) {
      now_ += milliseconds(500);
      const std::string wrong(guard_.Look(now_));
      if (!wrong.empty()) return wrong;
    }
    return "";
  }

  FrameGuard::Time now_ = FrameGuard::Time(seconds(1000));
  FrameGuard guard_;
};

TEST_F(StallTest, AnIdleConnectionMayWait) {
  EXPECT_EQ(After(seconds(1000)), "");
  Call(1);
  Answer(1, 100);
  EXPECT_EQ(After(seconds(1000)), "");  // a stream whose messages are complete
}

// Ten seconds without a call.
class IdleTest : public StallTest {
 protected:
  IdleTest() : StallTest({.max_idle = seconds(10), .receipt = nullptr}) {}

  // True if the connection becomes idle within this time, with checks as frequent as they should
  // be.
  bool IsIdleAfter(milliseconds time) {
    for (milliseconds gone{0}; gone < time; gone += milliseconds(500)) {
      now_ += milliseconds(500);
      if (guard_.IsIdle(now_)) return true;
    }
    return false;
  }
};

TEST_F(IdleTest, AConnectionWithoutACallIsIdle) {
  EXPECT_FALSE(IsIdleAfter(seconds(10)));
  EXPECT_TRUE(IsIdleAfter(seconds(1)));
  EXPECT_EQ(guard_.last_stream(), 0u);
}

TEST_F(IdleTest, AnOpenCallKeepsItAndOneThatEndsBeginsTheTimeAnew) {
  IsIdleAfter(seconds(6));
  Call(1);
  EXPECT_FALSE(IsIdleAfter(seconds(100)));
  Send(Frame(kHeaders, kEndHeaders | kAck, 1, "trailers"));
  EXPECT_FALSE(IsIdleAfter(seconds(9)));
  Call(3);  // short like most calls: no check sees it open
  Send(Frame(kHeaders, kEndHeaders | kAck, 3, "trailers"));
  EXPECT_FALSE(IsIdleAfter(seconds(10)));
  EXPECT_TRUE(IsIdleAfter(seconds(1)));
  EXPECT_EQ(guard_.last_stream(), 3u);
}

TEST_F(IdleTest, PingsAreNoCalls) {
  for (int i = 0; i < 10; ++i) {
    Receive(Frame(kPing, 0, 0, "12345678"));
    Send(Frame(kPing, kAck, 0, "12345678"));
    IsIdleAfter(seconds(1));
  }
  EXPECT_TRUE(IsIdleAfter(seconds(1)));
}

TEST_F(IdleTest, AFrameThatIsNotCompleteKeepsIt) {
  Receive(Begin(1).substr(0, 12));
  EXPECT_FALSE(IsIdleAfter(seconds(100)));
}

TEST_F(StallTest, AMessageMayNotStandStill) {
  Receive(Begin(1) + Frame(kData, 0, 1, Message(1000, 999)));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "a message has stalled");
}

TEST_F(StallTest, ACallMayNotBeWithoutAMessage) {
  Receive(Begin(1));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "a call has no message");
}

TEST_F(StallTest, FramesWithoutAMessageDoNotKeepACall) {
  Receive(Begin(1));
  for (int i = 0; i < 10; ++i) {
    Receive(Frame(kData, 0, 1, "") + Frame(kData, kPadded, 1, std::string(1, '\3') + "pad"));
    EXPECT_EQ(After(seconds(1)), "");
  }
  EXPECT_EQ(After(seconds(1)), "a call has no message");
}

TEST_F(StallTest, AStreamThatTheServerHasBegunMayWaitForItsFirstMessage) {
  Receive(Begin(1));
  Send(Frame(kHeaders, kEndHeaders, 1, "answer"));
  EXPECT_EQ(After(seconds(1000)), "");
}

TEST_F(StallTest, ACallThatHasEndedNeedsNoMessage) {
  Receive(Begin(1) + Frame(kData, kAck, 1, ""));  // the peer ends its side of the stream
  Receive(Begin(3) + Frame(kReset, 0, 3, "code"));
  Receive(Frame(kHeaders, kEndHeaders | kAck, 5, "headers"));
  Receive(Begin(7));
  Send(Frame(kReset, 0, 7, "code"));
  EXPECT_EQ(After(seconds(1000)), "");
}

TEST_F(StallTest, AMessageThatComesLateHasItsOwnTime) {
  Receive(Begin(1));
  EXPECT_EQ(After(seconds(9)), "");
  Receive(Frame(kData, 0, 1, Message(1000, 1)));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "a message has stalled");
}

TEST_F(StallTest, ACallMayWaitForTheWindowOfTheServer) {
  Receive(Begin(1) + Frame(kData, 0, 1, Message(100'000, kWindow - 5)) + Begin(3));
  EXPECT_EQ(After(seconds(1000)), "");
}

TEST_F(StallTest, ThePrefixOfAMessageMayNotStandStill) {
  Receive(Begin(1) + Frame(kData, 0, 1, std::string(1, '\0')));
  EXPECT_EQ(After(seconds(11)), "a message has stalled");
}

TEST_F(StallTest, AByteNowAndThenIsNoProgress) {
  Receive(Begin(1) + Frame(kData, 0, 1, Message(1000, 1)));
  for (int i = 0; i < 10; ++i) {
    Receive(Frame(kData, 0, 1, "x"));
    EXPECT_EQ(After(seconds(1)), "");
  }
  Receive(Frame(kData, 0, 1, "x"));
  EXPECT_EQ(After(seconds(1)), "a message has stalled");
}

// A line of 1 Mbit/s, shared by ten messages of 10 MB, each of which takes 800 s.
TEST_F(StallTest, ASlowLineIsProgress) {
  Send(Credit(0, 0x7fff0000));
  for (uint32_t stream = 1; stream < 20; stream += 2) {
    Receive(Begin(stream) + Frame(kData, 0, stream, Message(10'000'000, 0)));
    Send(Credit(stream, 20'000'000));
  }
  for (int second = 0; second < 800; ++second) {
    for (uint32_t stream = 1; stream < 20; stream += 2) {
      Receive(Frame(kData, 0, stream, std::string(12'500, 'x')));
    }
    ASSERT_EQ(After(seconds(1)), "") << second;
  }
}

TEST_F(StallTest, AMessageMayWaitForTheWindowOfTheServer) {
  Receive(Begin(1) + Frame(kData, 0, 1, Message(100'000, kWindow - 5)));
  EXPECT_EQ(After(seconds(1000)), "");
  Send(Credit(0, 100'000));
  EXPECT_EQ(After(seconds(1000)), "");
  Send(Credit(1, 100'000));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "a message has stalled");
}

TEST_F(StallTest, TheServersSettingsGiveWindowsToo) {
  Send(Frame(kSettings, 0, 0, Setting(3, 1024) + Setting(kInitialWindow, 3000)));
  Send(Credit(0, 100'000));
  Receive(Begin(1) + Frame(kData, 0, 1, Message(100'000, 2995)));
  EXPECT_EQ(After(seconds(1000)), "");
  Send(Frame(kSettings, 0, 0, Setting(kInitialWindow, 4000)));
  EXPECT_EQ(After(seconds(11)), "a message has stalled");
}

TEST_F(StallTest, HeadersMayNotStandStill) {
  Receive(Frame(kHeaders, 0, 1, "headers"));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "headers have stalled");
}

TEST_F(StallTest, HeadersInContinuationsEndInTime) {
  Receive(Frame(kHeaders, 0, 1, "headers"));
  EXPECT_EQ(After(seconds(9)), "");
  Receive(Frame(kContinuation, kEndHeaders, 1, "more"));
  Receive(Frame(kData, 0, 1, Message(3, 3)));
  EXPECT_EQ(After(seconds(100)), "");
}

TEST_F(StallTest, AFrameMayNotStandStill) {
  const std::string ping = Frame(kPing, 0, 0, "12345678");
  Receive(ping.substr(0, 5));
  EXPECT_EQ(After(seconds(9)), "");
  Receive(ping.substr(5));
  EXPECT_EQ(After(seconds(100)), "");
  Receive(ping.substr(0, 12));
  EXPECT_EQ(After(seconds(11)), "a frame has stalled");
}

TEST_F(StallTest, AnAnswerThatIsNotTakenMayNotWait) {
  Call(1);
  Answer(1, kWindow);
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "does not read answers");
}

TEST_F(StallTest, TheConnectionsWindowCountsToo) {
  Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 1 << 30)));
  Call(1);
  Answer(1, kWindow);
  EXPECT_EQ(After(seconds(11)), "does not read answers");
}

TEST_F(StallTest, AStreamWithoutAWindowIsNotTaken) {
  Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 0)));
  Receive(Begin(1) + Frame(kData, kAck, 1, Message(3, 3)));
  EXPECT_EQ(After(seconds(1000)), "");  // while it is computed
  Send(Frame(kHeaders, kEndHeaders, 1, "answer"));
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "does not read answers");
}

TEST_F(StallTest, AWindowOfAByteNowAndThenIsNoProgress) {
  Receive(Credit(0, 1 << 30));
  Call(1);
  Answer(1, kWindow);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(After(seconds(1)), "");
    Receive(Credit(1, 1));
    Answer(1, 1);
  }
  EXPECT_EQ(After(seconds(1)), "does not read answers");
}

// The peer always opens only the window that is not missing: first the stream's, then the
// connection's.
TEST_F(StallTest, OneGateAfterTheOtherIsNoProgress) {
  Call(1);
  Answer(1, kWindow);
  std::string wrong;
  for (int i = 0; i < 8 && wrong.empty(); ++i) {
    Receive(Credit(1, 10));
    wrong = After(seconds(1));  // the stream's
    Receive(Credit(0, 20));
    Answer(1, 10);
    if (wrong.empty()) wrong = After(seconds(1));  // the connection's
    Receive(Credit(1, 10));
    Answer(1, 10);
  }
  EXPECT_EQ(wrong, "does not read answers");
}

// A line of 1 Mbit/s, on which the peer opens the window by what it has read.
TEST_F(StallTest, ASlowReaderIsProgress) {
  Call(1);
  Answer(1, kWindow);
  for (int second = 0; second < 300; ++second) {
    ASSERT_EQ(After(seconds(1)), "") << second;
    Receive(Credit(0, 12'500) + Credit(1, 12'500));
    Answer(1, 12'500);
  }
}

TEST_F(StallTest, AnAnswerAfterALongRestIsNew) {
  Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 1000)));
  Call(1);
  EXPECT_EQ(After(seconds(1000)), "");
  Answer(1, 400);
  EXPECT_EQ(After(seconds(1000)), "");
  Answer(1, 600);
  EXPECT_EQ(After(seconds(10)), "");
  EXPECT_EQ(After(seconds(1)), "does not read answers");
}

TEST_F(StallTest, AnAnswerToANewCallIsNewToo) {
  Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 0)) + Credit(1, kWindow));
  Call(1);
  Receive(Credit(1, kWindow));
  Answer(1, kWindow);  // uses up the connection's window
  EXPECT_EQ(After(seconds(5)), "");
  Call(3);
  Receive(Credit(0, kWindow));
  Answer(1, kWindow);
  Receive(Credit(0, kWindow) + Credit(1, kWindow));
  EXPECT_EQ(After(seconds(9)), "");
  EXPECT_EQ(After(seconds(2)), "does not read answers");
}

TEST_F(StallTest, AnEndedAnswerDoesNotWait) {
  Call(1);
  Answer(1, kWindow);
  Send(Frame(kHeaders, kEndHeaders | kAck, 1, "code"));
  EXPECT_EQ(After(seconds(1000)), "");
  Receive(Credit(0, kWindow));
  Call(3);
  Answer(3, kWindow);
  Receive(Frame(kReset, 0, 3, Number(8, 4)));
  EXPECT_EQ(After(seconds(1000)), "");
}

TEST_F(StallTest, ASocketThatTakesNothingMayNotWait) {
  guard_.SocketTook(20'000, false, now_);
  EXPECT_EQ(After(seconds(9)), "");
  guard_.SocketTook(20'000, false, now_);
  EXPECT_EQ(After(seconds(9)), "");
  guard_.SocketTook(10, true, now_);
  EXPECT_EQ(After(seconds(1000)), "");
  guard_.SocketTook(10, false, now_);
  EXPECT_EQ(After(seconds(11)), "does not read answers");
}

}  // namespace
}  // namespace token_sampler
