// Tests which window updates, and which windows, a peer may give.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "server/listener/frames/frame_guard.h"
#include "tests/unit/listener/frames.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kMaxIdle = 10;       // per second
constexpr uint64_t kTinyPerAnswer = 4;  // in addition
constexpr char kIdle[] = "sends too many frames that carry nothing";
constexpr char kTiny[] = "reads answers in tiny pieces";

class WindowFloodTest : public ::testing::Test {
 protected:
  WindowFloodTest() {
    EXPECT_EQ(Receive(kPreface + Frame(kSettings, 0, 0) + Frame(kSettings, kAck, 0)), "");
    now_ += seconds(2);
  }

  std::string Receive(const std::string& bytes) {
    return std::string(guard_.Take(Bytes(bytes), now_));
  }
  void Send(const std::string& bytes) { guard_.Sent(Bytes(bytes), now_); }

  void Call(uint32_t stream) {
    ASSERT_EQ(Receive(Begin(stream) + Frame(kData, kAck, stream, Message(3, 3))), "");
    Send(Frame(kHeaders, kEndHeaders, stream, "answer"));
  }
  void Answer(uint32_t stream, size_t bytes) {
    Send(Frame(kData, 0, stream, std::string(bytes, 'a')));
  }

  FrameGuard::Time now_ = FrameGuard::Time(seconds(1000));
  FrameGuard guard_{FrameLimits{.max_idle_frames = kMaxIdle, .receipt = nullptr}};
};

TEST_F(WindowFloodTest, StopsUpdatesForWhichNothingWasSent) {
  for (uint64_t i = 0; i < kMaxIdle; ++i) ASSERT_EQ(Receive(Credit(0, 100'000)), "");
  EXPECT_EQ(Receive(Credit(0, 100'000)), kIdle);
}

TEST_F(WindowFloodTest, LetsUpdatesPassThatAreRare) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(Receive(Credit(0, 1)), "");
    now_ += milliseconds(150);
  }
}

// Like a client that opens the window for each frame as it reads it, however small.
TEST_F(WindowFloodTest, LetsTwoUpdatesPassForEachFrameOfAnAnswer) {
  Call(1);
  for (int i = 0; i < 10'000; ++i) {
    Answer(1, 20);
    ASSERT_EQ(Receive(Credit(0, 20) + Credit(1, 20)), "") << i;
  }
}

TEST_F(WindowFloodTest, LetsAFrameBeGivenBackInPieces) {
  Call(1);
  for (int i = 0; i < 100; ++i) {
    Answer(1, 16'384);
    for (int piece = 0; piece < 16; ++piece) {
      ASSERT_EQ(Receive(Credit(0, 1024) + Credit(1, 1024)), "") << i;
    }
  }
}

// The updates arrive before the guard notices that the answer was sent.
TEST_F(WindowFloodTest, LetsUpdatesComeEarly) {
  Call(1);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(Receive(Credit(0, 20) + Credit(1, 20)), "") << i;
    Answer(1, 20);
  }
}

TEST_F(WindowFloodTest, LetsEachCallWidenItsWindow) {
  for (uint32_t stream = 1; stream < 1000; stream += 2) {
    ASSERT_EQ(Receive(Begin(stream) + Credit(stream, 1 << 20) + Credit(0, 1 << 20)), "");
  }
}

TEST_F(WindowFloodTest, ALongStreamBuysNoFlood) {
  Call(1);
  ASSERT_EQ(Receive(Credit(0, 1 << 30) + Credit(1, 1 << 30)), "");
  for (int i = 0; i < 200'000; ++i) Answer(1, 2);
  std::string wrong;
  int updates = 0;
  for (; wrong.empty() && updates < 300'000; ++updates) wrong = Receive(Credit(0, 1));
  EXPECT_EQ(wrong, kIdle);
  EXPECT_LT(updates, 140'000);
}

// CVE-2019-9511: each byte costs the server a frame.
TEST_F(WindowFloodTest, StopsAnswersThatAreFetchedByteByByte) {
  Call(1);
  Answer(1, 65'535);
  ASSERT_EQ(Receive(Credit(0, 1 << 20)), "");
  std::string wrong;
  uint64_t bytes = 0;
  for (; wrong.empty() && bytes < 100; ++bytes) {
    wrong = Receive(Credit(1, 1));
    Answer(1, 1);
  }
  EXPECT_EQ(wrong, kTiny);
  // One byte too many, and the update with which it is noticed.
  EXPECT_EQ(bytes, kMaxIdle + 2);
}

TEST_F(WindowFloodTest, TheConnectionsWindowIsFetchedFromAlike) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 1 << 30))), "");
  Call(1);
  Answer(1, 65'535);
  std::string wrong;
  for (int i = 0; wrong.empty() && i < 100; ++i) {
    wrong = Receive(Credit(0, 1));
    Answer(1, 1);
  }
  EXPECT_EQ(wrong, kTiny);
}

// A settings frame opens the windows of all streams by a byte.
TEST_F(WindowFloodTest, SettingsDribbleToo) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 1))), "");
  for (uint32_t stream = 1; stream < 30; stream += 2) {
    Call(stream);
  }
  for (uint32_t stream = 1; stream < 30; stream += 2) Answer(stream, 1);
  EXPECT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 2))), kTiny);
}

TEST_F(WindowFloodTest, LetsAnswersBeFetchedByThe1024Bytes) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 1024)) + Credit(0, 1 << 30)),
            "");
  Call(1);
  for (int i = 0; i < 1000; ++i) {
    Answer(1, 1024);
    ASSERT_EQ(Receive(Credit(1, 1024)), "") << i;
  }
}

// Frames of 16 KiB leave little of a window.
TEST_F(WindowFloodTest, TheRestOfAWindowMayBeSmall) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 16'385)) + Credit(0, 1 << 30)),
            "");
  Call(1);
  for (int i = 0; i < 1000; ++i) {
    Answer(1, 16'384);
    Answer(1, 1);
    ASSERT_EQ(Receive(Credit(1, 16'385)), "") << i;
  }
}

// Like gRPC with a lookahead of a byte: it sends the prefix, then what fits into the window, then
// the rest.
TEST_F(WindowFloodTest, APrefixMayBeFetchedBeforeItsMessage) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 5))), "");
  Call(1);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(Receive(Frame(kData, 0, 1, Message(3, 3))), "") << i;
    Send(Frame(kData, 0, 1, Message(100, 0)));
    ASSERT_EQ(Receive(Credit(0, 5) + Credit(1, 100)), "") << i;
    Answer(1, 100);
    ASSERT_EQ(Receive(Credit(0, 100) + Credit(1, 5)), "") << i;
  }
}

TEST_F(WindowFloodTest, AnAnswerThatHasGoneBuysFourTinyPieces) {
  Call(1);
  Answer(1, 65'535 - 10);
  Call(3);
  Send(Frame(kData, 0, 3, Message(5, 5)));  // as much as the connection's window holds
  // Now the first stream's window is used up.
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 65'535 - 10))), "");
  ASSERT_EQ(Receive(Credit(0, 1 << 20)), "");
  now_ += seconds(2);
  std::string wrong;
  uint64_t bytes = 0;
  for (; wrong.empty() && bytes < 100; ++bytes) {
    wrong = Receive(Credit(1, 1));
    Answer(1, 1);
  }
  EXPECT_EQ(wrong, kTiny);
  EXPECT_EQ(bytes, kTinyPerAnswer + kMaxIdle + 2);
}

TEST_F(WindowFloodTest, SmallAnswersMayUseUpAWindowNowAndThen) {
  ASSERT_EQ(Receive(Frame(kSettings, 0, 0, Setting(kInitialWindow, 20)) + Credit(0, 1 << 30)), "");
  for (uint32_t stream = 1; stream < 1000; stream += 2) {
    Call(stream);
    Answer(stream, 20);
    Send(Frame(kHeaders, kEndHeaders | kAck, stream, "code"));
    now_ += milliseconds(150);
  }
}

}  // namespace
}  // namespace token_sampler
