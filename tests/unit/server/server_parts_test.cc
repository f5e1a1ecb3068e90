// Tests options, command line, log format, address file and status mapping.

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>
#include <stdlib.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/calls/status_mapping.h"
#include "server/logging/logging.h"
#include "server/program/command_line.h"
#include "server/program/server_options.h"

namespace token_sampler {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
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

TEST(ServerOptionsTest, ErrorsNameFlagValueAndRange) {
  ServerOptions options;
  EXPECT_TRUE(ValidateOptions(options).ok());
  options.device = "tpu";
  EXPECT_EQ(ValidateOptions(options).message(), "--device must be one of auto, cpu, cuda, got tpu");
  options = {};
  options.regions.kinds = "gpu";
  EXPECT_EQ(ValidateOptions(options).message(),
            "--shared-memory must be one of off, system, cuda, all, got gpu");
  options = {};
  options.regions.peers = "all";
  EXPECT_EQ(ValidateOptions(options).message(),
            "--shared-memory-peers must be one of local, any, got all");
  options = {};
  options.regions.max_regions_per_peer = 0;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-regions-per-peer must be in [1, 4294967295], got 0");
  options = {};
  options.request.max_vocab = (1u << 24) + 1;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-vocab must be in [1, 16777216], got 16777217");
  options = {};
  options.threads = 1025;
  EXPECT_EQ(ValidateOptions(options).message(), "--threads must be in [0, 1024], got 1025");
  options = {};
  options.max_metadata_bytes = 8191;
  EXPECT_EQ(ValidateOptions(options).message(),
            "--max-metadata-bytes must be in [8192, 16777216], got 8191");
  options = {};
  options.listen = {"unix:"};
  EXPECT_THAT(std::string(ValidateOptions(options).message()), StartsWith("--listen "));
  options.listen = {"127.0.0.1:99999"};
  EXPECT_THAT(std::string(ValidateOptions(options).message()),
              StartsWith("--listen 127.0.0.1:99999: "));
  options = {};
  options.socket_mode = "rw";
  EXPECT_THAT(std::string(ValidateOptions(options).message()), StartsWith("--socket-mode "));
  options = {};
  options.listen = {};
  EXPECT_EQ(ValidateOptions(options).message(), "--listen must name at least one address");
}

TEST(ServerOptionsTest, WeightsOfClientsAreReadOrRefusedByName) {
  const CommandLine line = Parse(
      {"--client-weight=ipv4:10.0.0.7=3,unix:1000=0.5", "--client-weight", "ipv6:2001:db8::1=10"});
  ASSERT_FALSE(line.exit_code.has_value());
  EXPECT_THAT(*ParseClientWeights(line.options.client_weights),
              ElementsAre(Pair("ipv4:10.0.0.7", 3), Pair("ipv6:2001:db8::/64", 10),
                          Pair("unix:1000", 0.5)));
  const auto refusal = [](std::vector<std::string> weights) {
    ServerOptions options;
    options.client_weights = std::move(weights);
    return std::string(ValidateOptions(options).message());
  };
  EXPECT_EQ(refusal({"unix:"}), "--client-weight \"unix:\": must be CLIENT=WEIGHT");
  EXPECT_EQ(refusal({"me=2"}),
            "--client-weight \"me=2\": a client must be ipv4:ADDRESS, ipv6:ADDRESS, which means "
            "its network of 64 bits, or unix:UID, a user's number");
  for (const std::string weight : {"0", "-1", "0.0009", "1001", "nan", "inf", "much", ""}) {
    EXPECT_EQ(refusal({"unix:0=" + weight}),
              "--client-weight \"unix:0=" + weight + "\": the weight must be in [0.001, 1000]");
  }
  EXPECT_EQ(refusal({"ipv6:2001:db8::1=2", "ipv6:2001:db8::2=3"}),
            "--client-weight \"ipv6:2001:db8::2=3\": the client has a weight already");
}

TEST(JsonLogTest, EveryLineIsValidJson) {
  const auto formatter = CreateJsonFormatter();
  for (const std::string text :
       {"plain", "a \"quoted\" \\ word\nand a line", "control \x01", "not UTF-8 \xff\xfe"}) {
    spdlog::memory_buf_t buffer;
    formatter->format(spdlog::details::log_msg("logger", spdlog::level::warn, text), buffer);
    const std::string line(buffer.data(), buffer.size());
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["level"], "warning");
    if (text.find('\xff') == std::string::npos) {
      EXPECT_EQ(json["message"], text);
    }
  }
}

TEST(GrpcLogTest, GoesWhereTheServerLogs) {
  SetUpLogging("info", "json");
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);  // like GRPC_VERBOSITY
  ::testing::internal::CaptureStderr();
  gpr_log("/src/core/lib/socket.cc", 7, GPR_LOG_SEVERITY_ERROR, "%s", "a \"quoted\"\nline");
  gpr_log("socket.cc", 8, GPR_LOG_SEVERITY_INFO, "told");
  gpr_log("socket.cc", 9, GPR_LOG_SEVERITY_DEBUG, "too much");
  FlushLog(std::chrono::seconds(60));
  const std::vector<std::string> lines =
      absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  std::vector<std::string> told;
  for (const std::string& line : lines) {
    const auto json = nlohmann::json::parse(line);
    told.push_back(
        absl::StrCat(json["level"].get<std::string>(), " ", json["message"].get<std::string>()));
  }
  EXPECT_THAT(told, ElementsAre("error gRPC socket.cc:7: a \"quoted\"\nline",
                                "info gRPC socket.cc:8: told"));
}

TEST(StatusMappingTest, KeepsTheCodeAndCutsLongMessages) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  const grpc::Status status = ToGrpcStatus(absl::ResourceExhaustedError(std::string(9000, 'x')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message().size(), 2048u);
  EXPECT_EQ(ToGrpcStatus(absl::UnimplementedError("m")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace token_sampler
