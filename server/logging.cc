#include "server/logging.h"

#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace token_sampler {
namespace {

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const auto level = spdlog::level::to_string_view(message.level);
    nlohmann::ordered_json object;
    object["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time),
                                      absl::UTCTimeZone());
    object["level"] = std::string(level.data(), level.size());
    object["message"] = std::string(message.payload.data(), message.payload.size());
    // Bytes that are not UTF-8 are replaced: a line of log is always valid JSON.
    const std::string text =
        object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    line.append(text.data(), text.data() + text.size());
    line.push_back('\n');
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

spdlog::level::level_enum Level(gpr_log_severity severity) {
  switch (severity) {
    case GPR_LOG_SEVERITY_ERROR:
      return spdlog::level::err;
    case GPR_LOG_SEVERITY_INFO:
      return spdlog::level::info;
    case GPR_LOG_SEVERITY_DEBUG:
      break;
  }
  return spdlog::level::debug;
}

// gRPC itself leaves out what GRPC_VERBOSITY does not ask for: by default, all but errors.
void LogForGrpc(gpr_log_func_args* line) {
  const absl::string_view path = line->file;
  spdlog::log(Level(line->severity), "gRPC {}:{}: {}",
              std::string(path.substr(path.rfind('/') + 1)), line->line, line->message);
}

}  // namespace

std::unique_ptr<spdlog::formatter> CreateJsonFormatter() {
  return std::make_unique<JsonFormatter>();
}

void SetUpLogging(const std::string& level, const std::string& format) {
  auto logger = spdlog::stderr_color_mt("token-sampler-server");
  if (format == "json") {
    logger->set_formatter(CreateJsonFormatter());
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-5l%$ %v");
  }
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogForGrpc);
}

}  // namespace token_sampler
