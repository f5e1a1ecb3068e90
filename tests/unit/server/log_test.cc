// Tests that the log makes nobody wait and does not repeat itself.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "server/logging/log_limit.h"
#include "server/logging/log_writer.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TimePoint Now() { return std::chrono::system_clock::now(); }

class PipeTest : public ::testing::Test {
 protected:
  PipeTest() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~PipeTest() override {
    close(ends_[0]);
    close(ends_[1]);
  }

  // Reads until it has `size` bytes.
  std::string Read(size_t size) {
    std::string text;
    char buffer[4096];
    while (text.size() < size) {
      const ssize_t count = read(ends_[0], buffer, sizeof(buffer));
      if (count <= 0) break;
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }

  int ends_[2];
};

TEST_F(PipeTest, LinesAreWrittenInTheirOrder) {
  LogWriter writer(ends_[1], 1000);
  EXPECT_TRUE(writer.Write("a\n"));
  EXPECT_TRUE(writer.Write("b\n"));
  writer.Flush(Now() + seconds(60));
  EXPECT_EQ(Read(4), "a\nb\n");
}

TEST_F(PipeTest, AFullPipeHoldsNobodyUp) {
  LogWriter writer(ends_[1], 10'000);
  std::string line(1000, 'x');
  line.back() = '\n';
  uint64_t taken = 0;
  // The pipe takes some lines, and then the writer keeps as many as it may.
  while (writer.Write(line)) ++taken;
  EXPECT_FALSE(writer.Write(line));
  writer.Flush(Now() + milliseconds(1));
  EXPECT_EQ(Read(taken * line.size()).size(), taken * line.size());
  writer.Flush(Now() + seconds(60));
  EXPECT_TRUE(writer.Write(line));
}

TEST_F(PipeTest, NothingIsKeptForADescriptorThatIsClosed) {
  LogWriter writer(-1, 10);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(writer.Write("ten bytes\n"));
    writer.Flush(Now() + seconds(60));
  }
}

TEST(LogLimitTest, TakesSoManyLinesOfAReasonInASecond) {
  LogLimit limit(2);
  const TimePoint start = TimePoint(seconds(1000));
  EXPECT_TRUE(limit.Check("call 17 failed", start).take);
  EXPECT_TRUE(limit.Check("call 18 failed", start).take);
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(limit.Check("call 19 failed", start + milliseconds(999)).take);
  }
  EXPECT_TRUE(limit.Check("something else", start).take);
  const LogLimit::Verdict later = limit.Check("call 4 failed", start + seconds(1));
  EXPECT_TRUE(later.take);
  EXPECT_EQ(later.left_out, 5u);
  EXPECT_EQ(limit.Check("call 5 failed", start + seconds(1)).left_out, 0u);
}

TEST(LogLimitTest, AReasonIsHowALineBegins) {
  LogLimit limit(1);
  const TimePoint now = TimePoint(seconds(1000));
  const std::string begin(40, 'x');
  EXPECT_TRUE(limit.Check(begin + " one", now).take);
  EXPECT_FALSE(limit.Check(begin + " two", now).take);
}

}  // namespace
}  // namespace token_sampler
