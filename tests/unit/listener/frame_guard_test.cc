// Tests connections that attack HTTP/2, and some that only look like attacks.

#include "server/listener/frames/frame_guard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/unit/listener/frames.h"

namespace token_sampler {
namespace {

class FrameGuardTest : public ::testing::Test {
 protected:
  FrameGuardTest() {
    limits_.max_header_bytes = 65'536;
    limits_.max_message_bytes = 1000;
    limits_.max_early_streams = 5;
    limits_.max_resets = 10;
    limits_.max_idle_frames = 10;
  }

  // Sends the preface before the first frame.
  std::string Send(const std::string& bytes) {
    if (guard_ == nullptr) {
      guard_ = std::make_unique<FrameGuard>(limits_);
      EXPECT_EQ(Take(kPreface), "");
    }
    return Take(bytes);
  }

  std::string Take(const std::string& bytes) {
    return std::string(guard_->Take(Bytes(bytes), now_));
  }

  FrameLimits limits_;
  FrameGuard::Time now_ = FrameGuard::Time(std::chrono::seconds(100));
  std::unique_ptr<FrameGuard> guard_;
};

TEST_F(FrameGuardTest, LetsACallPassByteByByte) {
  guard_ = std::make_unique<FrameGuard>(limits_);
  const std::string call =
      absl::StrCat(kPreface, Frame(kSettings, 0, 0), Frame(kSettings, kAck, 0),
                   Frame(kHeaders, kEndHeaders, 1, "headers"), Frame(kData, 0, 1, Message(10, 4)),
                   Frame(kData, kAck, 1, "xxxxxx"), Frame(kWindowUpdate, 0, 0, Number(9, 4)));
  for (const char byte : call) ASSERT_EQ(Take(std::string(1, byte)), "");
}

TEST_F(FrameGuardTest, StopsAMessageThatAnnouncesFarTooMuch) {
  EXPECT_EQ(Send(Begin(1) + Frame(kData, 0, 1, Message(1000, 0))), "");
  EXPECT_EQ(Send(Begin(3) + Frame(kData, 0, 3, Message(0xffffffff, 0))),
            "announces a message that is far too large");
}

// The five bytes of a prefix come in two frames, between frames of another stream, after a first
// message.
TEST_F(FrameGuardTest, FindsTheNextMessageOfAStream) {
  const std::string large = Message(0xffffffff, 0);
  EXPECT_EQ(Send(Begin(1) + Frame(kData, 0, 1, Message(3, 3) + large.substr(0, 2))), "");
  EXPECT_EQ(Send(Begin(3) + Frame(kData, 0, 3, Message(900, 900))), "");
  EXPECT_EQ(Send(Frame(kData, 0, 1, large.substr(2))), "announces a message that is far too large");
}

TEST_F(FrameGuardTest, StopsRapidResets) {
  for (uint32_t i = 0; i < 10; ++i) EXPECT_EQ(Send(Frame(kReset, 0, 2 * i + 1, Number(8, 4))), "");
  EXPECT_EQ(Send(Frame(kReset, 0, 21, Number(8, 4))), "resets streams too often");
}

TEST_F(FrameGuardTest, StopsStreamsThatAreResetAsTheyBeginEarlier) {
  limits_.max_hasty_resets = 3;
  limits_.max_early_streams = 100;
  std::string wrong;
  uint32_t stream = 1;
  for (; wrong.empty(); stream += 2) {
    ASSERT_LT(stream, 10u);
    wrong = Send(Frame(kHeaders, kEndHeaders, stream) + Frame(kReset, 0, stream, Number(8, 4)));
  }
  EXPECT_EQ(stream, 9u);  // the fourth was one too many
  EXPECT_EQ(wrong, "resets streams too often");
  guard_ = nullptr;
  for (stream = 1; stream < 20; stream += 2) {
    EXPECT_EQ(Send(Frame(kHeaders, kEndHeaders, stream)), "");
    EXPECT_EQ(Send(Frame(kReset, 0, stream, Number(8, 4))), "");
  }
}

TEST_F(FrameGuardTest, LetsDeadlinesPass) {
  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(Send(Frame(kReset, 0, 2 * i + 1, Number(8, 4))), "");
    now_ += std::chrono::milliseconds(100);
  }
}

TEST_F(FrameGuardTest, StopsHeadersInTinyPieces) {
  EXPECT_EQ(Send(Frame(kHeaders, 0, 1, std::string(64, 'h'))), "");
  std::string wrong;
  int pieces = 0;
  for (; wrong.empty(); ++pieces) {
    ASSERT_LT(pieces, 10);
    wrong = Send(Frame(kContinuation, 0, 1, std::string(64, 'h')));
  }
  EXPECT_EQ(wrong, "sends headers in too many pieces");
}

TEST_F(FrameGuardTest, LetsLargeHeadersPassAndStopsEndlessOnes) {
  const std::string piece(16'384, 'h');
  EXPECT_EQ(Send(Frame(kHeaders, 0, 1, piece)), "");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Send(Frame(kContinuation, 0, 1, piece)), "");
  EXPECT_EQ(Send(Frame(kContinuation, kEndHeaders, 1, piece)), "");
  EXPECT_EQ(Send(Frame(kHeaders, 0, 3, piece)), "");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Send(Frame(kContinuation, 0, 3, piece)), "");
  EXPECT_EQ(Send(Frame(kContinuation, 0, 3, piece)), "sends headers without end");
}

TEST_F(FrameGuardTest, StopsStreamsBeforeTheSettingsAreAcknowledged) {
  for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(Send(Frame(kHeaders, kEndHeaders, 2 * i + 1)), "");
  EXPECT_EQ(Send(Frame(kHeaders, kEndHeaders, 11)),
            "opens streams without end before it acknowledges the settings");
}

TEST_F(FrameGuardTest, LetsStreamsPassOnceTheyAre) {
  EXPECT_EQ(Send(Frame(kSettings, kAck, 0)), "");
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(Send(Frame(kHeaders, kEndHeaders, 2 * i + 1)), "");
}

TEST_F(FrameGuardTest, StopsFloodsOfFramesThatCarryNothing) {
  constexpr uint8_t kPriority = 2;
  for (const uint8_t type : {kSettings, kPing, kPriority, kData, uint8_t{0xfa}}) {
    guard_ = nullptr;
    for (int i = 0; i < 10; ++i) EXPECT_EQ(Send(Frame(type, 0, 1)), "");
    EXPECT_EQ(Send(Frame(type, 0, 1)), "sends too many frames that carry nothing");
  }
}

TEST_F(FrameGuardTest, LetsAClientGoAwayButNotOverAndOver) {
  limits_.max_goaways = 3;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Send(Frame(kGoaway, 0, 0, Number(0, 8))), "");
    now_ += std::chrono::minutes(1);
  }
  EXPECT_EQ(Send(Frame(kGoaway, 0, 0, Number(0, 8))), "sends GOAWAY without end");
}

TEST_F(FrameGuardTest, LeavesWhatIsNotHttp2ToOthers) {
  guard_ = std::make_unique<FrameGuard>(limits_);
  EXPECT_EQ(Take("GET / HTTP/1.1\r\n"), "");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Take(Frame(kPing, 0, 0)), "");
}

// Two of three connections hold the most that is allowed, and are closed when they receive more.
TEST_F(FrameGuardTest, OfIncompleteMessagesTheLargestGoFirst) {
  limits_.receipt = std::make_shared<Receipt>(1500);
  const Receipt& receipt = *limits_.receipt;
  FrameGuard others[2] = {FrameGuard(limits_), FrameGuard(limits_)};
  const auto take = [&](FrameGuard& guard, const std::string& bytes) {
    return std::string(guard.Take(Bytes(bytes), now_));
  };
  for (FrameGuard& other : others) {
    EXPECT_EQ(take(other, kPreface + Begin(1) + Frame(kData, 0, 1, Message(1000, 700))), "");
  }
  EXPECT_EQ(receipt.bytes, 1410u);
  EXPECT_EQ(Send(Begin(1) + Frame(kData, 0, 1, Message(200, 150))), "");
  EXPECT_EQ(receipt.connections, 3u);
  // A small message passes, and so does another.
  EXPECT_EQ(Send(Frame(kData, kAck, 1, std::string(50, 'x'))), "");
  EXPECT_EQ(Send(Begin(3) + Frame(kData, 0, 3, Message(200, 150))), "");
  EXPECT_EQ(take(others[0], Frame(kData, 0, 1, std::string(100, 'x'))),
            "holds too many bytes in incomplete messages");
  others[0].End();
  EXPECT_EQ(take(others[1], Frame(kData, 0, 1, std::string(300, 'x'))), "");
  EXPECT_EQ(receipt.connections, 1u);
  EXPECT_EQ(Send(Frame(kReset, 0, 3, Number(8, 4))), "");
  EXPECT_EQ(receipt.bytes, 0u);
  EXPECT_EQ(receipt.connections, 0u);
}

// The client sends nothing about a call that the server has ended.
TEST_F(FrameGuardTest, ForgetsTheMessageOfACallThatTheServerEnds) {
  limits_.receipt = std::make_shared<Receipt>(1500);
  for (const uint8_t end : {kHeaders, kReset}) {
    guard_ = nullptr;
    EXPECT_EQ(Send(Begin(1) + Frame(kData, 0, 1, Message(900, 600))), "");
    EXPECT_EQ(limits_.receipt->bytes, 605u);
    guard_->Sent(Bytes(Frame(end, end == kHeaders ? kAck | kEndHeaders : 0, 1, "code")), now_);
    EXPECT_EQ(limits_.receipt->bytes, 0u);
    // The rest was on its way. Its bytes look like the prefix of another message.
    EXPECT_EQ(Send(Frame(kData, kAck, 1, std::string(300, '\xff'))), "");
    EXPECT_EQ(limits_.receipt->bytes, 0u);
  }
}

TEST_F(FrameGuardTest, FollowsABoundedNumberOfStreams) {
  limits_.receipt = std::make_shared<Receipt>(1 << 20);
  EXPECT_EQ(Send(Frame(kSettings, kAck, 0)), "");
  for (uint32_t i = 0; i < 5000; ++i) {
    const uint32_t stream = 2 * i + 1;
    ASSERT_EQ(Send(Begin(stream) + Frame(kData, 0, stream, Message(900, 1))), "");
  }
  EXPECT_LT(limits_.receipt->bytes, 3000u * 6);
  EXPECT_EQ(Send(Frame(kData, 0, 1, Message(0xffffffff, 0))), "");
  const std::string rest(899, 'x');
  EXPECT_EQ(Send(Frame(kData, 0, 9999, rest + Message(0xffffffff, 0))),
            "announces a message that is far too large");
}

}  // namespace
}  // namespace token_sampler
