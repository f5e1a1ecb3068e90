// Tests the lines of the log in JSON, and that gRPC's log is among them.

#include "server/logging/logging.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;

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

}  // namespace
}  // namespace token_sampler
