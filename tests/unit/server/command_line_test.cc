// Tests how flags and variables become options, and how a mistake in them ends.

#include "server/program/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

CommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "token-sampler-server");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLineTest, TakesFlags) {
  const CommandLine line = Parse({"--listen=127.0.0.1:0", "--listen", "unix:/tmp/s", "--device=cpu",
                                  "--max-rows=7", "--drain-delay-ms=5", "--log-format=json"});
  ASSERT_FALSE(line.exit_code.has_value());
  EXPECT_THAT(line.options.listen, ElementsAre("127.0.0.1:0", "unix:/tmp/s"));
  EXPECT_EQ(line.options.device, "cpu");
  EXPECT_EQ(line.options.request.max_rows, 7u);
  EXPECT_EQ(line.options.drain_delay, std::chrono::milliseconds(5));
  EXPECT_EQ(line.options.log_format, "json");
}

TEST(CommandLineTest, AListMayBeSplitByCommasAndRepeated) {
  const CommandLine line =
      Parse({"--client-weight=ipv4:10.0.0.7=3,unix:1000=0.5", "--client-weight", "unix:0=10"});
  ASSERT_FALSE(line.exit_code.has_value());
  EXPECT_THAT(line.options.client_weights,
              ElementsAre("ipv4:10.0.0.7=3", "unix:1000=0.5", "unix:0=10"));
}

TEST(CommandLineTest, AFlagWinsOverTheEnvironment) {
  setenv("TOKEN_SAMPLER_MAX_ROWS", "11", 1);
  setenv("TOKEN_SAMPLER_LISTEN", "127.0.0.1:1,unix:/a", 1);
  const CommandLine from_environment = Parse({});
  const CommandLine from_flag = Parse({"--max-rows=12"});
  unsetenv("TOKEN_SAMPLER_MAX_ROWS");
  unsetenv("TOKEN_SAMPLER_LISTEN");
  EXPECT_EQ(from_environment.options.request.max_rows, 11u);
  EXPECT_THAT(from_environment.options.listen, ElementsAre("127.0.0.1:1", "unix:/a"));
  EXPECT_EQ(from_flag.options.request.max_rows, 12u);
}

TEST(CommandLineTest, HelpAndVersionEndWell) {
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  EXPECT_EQ(Parse({"--version"}).exit_code, 0);
}

TEST(CommandLineTest, MistakesEndWithAnError) {
  for (const char* flag : {"--nonsense", "--max-rows=many", "--max-rows=0", "--device=tpu",
                           "--listen=nowhere", "--executors=-1", "--drain-delay-ms=-1",
                           "--shared-memory=gpu", "--shared-memory=", "--shared-memory-peers=all",
                           "--shared-memory-owners=all", "--max-regions=0"}) {
    const CommandLine line = Parse({flag});
    EXPECT_EQ(line.exit_code, 2) << flag;
  }
}

TEST(CommandLineTest, EveryNumberIsRefusedWithItsRange) {
  ASSERT_FALSE(NumberFlags().empty());
  for (const NumberFlag& flag : NumberFlags()) {
    for (const std::string value : {"-5", "1.5", "0x10", "99999999999999999999"}) {
      const std::string argument = absl::StrCat(flag.name, "=", value);
      ::testing::internal::CaptureStderr();
      EXPECT_EQ(Parse({argument.c_str()}).exit_code, 2);
      EXPECT_THAT(
          ::testing::internal::GetCapturedStderr(),
          AllOf(StartsWith(absl::StrCat(flag.name, ": ")),
                HasSubstr(absl::StrCat("[", flag.low, ", ", flag.high, "]")), HasSubstr(value)));
    }
  }
}

TEST(CommandLineTest, NamesTheFlagThatIsNear) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Parse({"--max-row=3"}).exit_code, 2);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("--max-row;"), HasSubstr("--max-rows?")));
}

}  // namespace
}  // namespace token_sampler
