// Tests the answers to what people type: names, numbers, flags, variables.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "client/usage/command_line.h"
#include "client/usage/counted.h"
#include "client/usage/environment.h"
#include "client/usage/nearest_name.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(NearestNameTest, IsTheOneOfFewestEdits) {
  const std::vector<std::string> known = {"temperature", "top_k", "top_p",
                                          "min_p",       "seed",  "token_ids"};
  EXPECT_EQ(NearestName("temprature", known), "temperature");
  EXPECT_EQ(NearestName("tempreature", known), "temperature");
  EXPECT_EQ(NearestName("top_pp", known), "top_p");
  EXPECT_EQ(NearestName("top-k", known), "top_k");
  EXPECT_EQ(NearestName("topk", known), "top_k");
  EXPECT_EQ(NearestName("sede", known), "seed");
  EXPECT_EQ(NearestName("MIN_P", known), "min_p");
  EXPECT_EQ(NearestName("tokens", known), "token_ids");
  EXPECT_EQ(NearestName("top_m", known), "top_k") << "the first of several";
}

TEST(NearestNameTest, NothingIsNearWhatIsLikeNoName) {
  const std::vector<std::string> known = {"temperature", "top_k", "n"};
  for (const char* name : {"", "beam_width", "q", "topics"}) {
    EXPECT_EQ(DidYouMean(name, known), "") << name;
  }
  EXPECT_EQ(NearestName("top_k", {}), "");
  EXPECT_EQ(NearestName(std::string(1 << 20, 'x'), {std::string(1 << 20, 'x')}), "")
      << "comparing them would take minutes";
  EXPECT_EQ(DidYouMean("top_l", known), "; did you mean top_k?");
}

TEST(CountedTest, OneIsNotMany) {
  EXPECT_EQ(Counted(0, "row"), "0 rows");
  EXPECT_EQ(Counted(uint64_t{1}, "row"), "1 row");
  EXPECT_EQ(Counted(2, "row"), "2 rows");
  EXPECT_EQ(Counted(1, "entry", "entries"), "1 entry");
  EXPECT_EQ(Counted(3, "entry", "entries"), "3 entries");
}

// A program with a flag and two commands, one of which needs a flag.
struct Program {
  CLI::App app{"", "program"};
  uint64_t number = 0;
  std::string word;

  Program() {
    app.require_subcommand(1);
    app.set_version_flag("--version", "1");
    CLI::App* count = app.add_subcommand("count", "");
    count->add_option("--number", number)->check(WholeNumber(1, 10));
    CLI::App* spell = app.add_subcommand("spell", "");
    spell->add_option("--word", word)->required();
  }

  std::optional<int> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "program");
    return ParseArguments(app, static_cast<int>(arguments.size()), arguments.data());
  }
};

TEST(ParseArgumentsTest, GoesOnAfterWhatIsRight) {
  Program program;
  EXPECT_EQ(program.Parse({"count", "--number", "3"}), std::nullopt);
  EXPECT_EQ(program.number, 3u);
}

TEST(ParseArgumentsTest, HelpAndVersionEndWell) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(Program().Parse({"--help"}), 0);
  EXPECT_EQ(Program().Parse({"spell", "--help"}), 0);
  EXPECT_EQ(Program().Parse({"--version"}), 0);
  ::testing::internal::GetCapturedStdout();
}

TEST(ParseArgumentsTest, MistakesHaveOneExitCodeAndNameWhatIsNear) {
  const std::pair<std::vector<const char*>, const char*> cases[] = {
      {{"cuont"}, "program has no command cuont; did you mean count?\n"},
      {{"counts", "--number", "3"}, "program has no command counts; did you mean count?\n"},
      {{"sing"}, "program has no command sing\n"},
      {{"--number", "3", "count"}, "program has no flag --number; flags of a command stand after"},
      {{"--versoin"}, "program has no flag --versoin; did you mean --version?\n"},
      {{"count", "--numbr=3"}, "count has no flag --numbr; did you mean --number?\n"},
      {{"count", "-number", "3"}, "count has no flag -number; did you mean --number?\n"},
      {{"count", "--words", "3"}, "count has no flag --words\n"},
      {{"count", "3"}, "count: unexpected argument 3\n"},
      {{"spell", "--wrod", "a"}, "spell has no flag --wrod; did you mean --word?\n"},
      {{"spell"}, "--word is required\n"},
      {{}, "A subcommand is required\n"},
      {{"count", "--number", "11"}, "--number: must be a whole number in [1, 10], got 11\n"},
      {{"count", "--number"}, "--number: 1 required"},
  };
  for (const auto& [arguments, message] : cases) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(Program().Parse(arguments), kExitUsage) << message;
    EXPECT_THAT(::testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr(message), HasSubstr("Run with --help for more information.\n")));
  }
}

TEST(WholeNumberTest, TakesDecimalNumbersOfItsRange) {
  const CLI::Validator any = WholeNumber();
  for (std::string text : {"0", "7", "18446744073709551615"}) EXPECT_EQ(any(text), "") << text;
  for (std::string text : {"", "-5", "+5", "010", "0x10", "1.5", "18446744073709551616", "many"}) {
    EXPECT_EQ(any(text), "must be a whole number in [0, 18446744073709551615], got " + text);
  }
  std::string off = "-1";
  EXPECT_EQ(WholeNumber(0, 9, "0 is off")(off),
            "must be a whole number in [0, 9], where 0 is off, got -1");
}

std::vector<std::string> Unknown(std::vector<const char*> environment) {
  environment.push_back(nullptr);
  return UnknownVariables(environment.data());
}

TEST(UnknownVariablesTest, AreNamedWithTheNearest) {
  EXPECT_THAT(
      Unknown({"TOKEN_SAMPLER_MAX_ROW=7", "TOKEN_SAMPLER_SPEED=9", "OTHER_MAX_ROW=1"}),
      ElementsAre("nothing reads the environment variable TOKEN_SAMPLER_MAX_ROW; did you mean "
                  "TOKEN_SAMPLER_MAX_ROWS?",
                  HasSubstr("nothing reads the environment variable TOKEN_SAMPLER_SPEED")));
}

TEST(UnknownVariablesTest, ThoseOfProgramsAndTestsAreKnown) {
  EXPECT_THAT(Unknown({"TOKEN_SAMPLER_MAX_ROWS=7", "TOKEN_SAMPLER_ADDRESS=unix:/s",
                       "TOKEN_SAMPLER_TIMEOUT=1", "TOKEN_SAMPLER_TEST_DATA=/d",
                       "TOKEN_SAMPLER_CONFORMANCE_SCALE=2", "TOKEN_SAMPLER=1", "PATH=/bin"}),
              IsEmpty());
}

// A pod has these if a service in its namespace is called token-sampler.
TEST(UnknownVariablesTest, ThoseOfKubernetesServicesAreKnown) {
  EXPECT_THAT(
      Unknown({"TOKEN_SAMPLER_SERVICE_HOST=10.0.0.1", "TOKEN_SAMPLER_SERVICE_PORT=50051",
               "TOKEN_SAMPLER_SERVICE_PORT_GRPC=50051", "TOKEN_SAMPLER_PORT=tcp://10.0.0.1:50051",
               "TOKEN_SAMPLER_PORT_50051_TCP_ADDR=10.0.0.1"}),
      IsEmpty());
  EXPECT_THAT(Unknown({"TOKEN_SAMPLER_PORT=50051"}), ElementsAre(HasSubstr("TOKEN_SAMPLER_PORT")));
}

}  // namespace
}  // namespace token_sampler
