#include "server/logging/logging.h"

#include <grpc/support/log.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/logging/log_limit.h"
#include "server/logging/log_writer.h"

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
    // Replace bytes that are not UTF-8, so that the line is always valid JSON.
    const std::string text =
        object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    line.append(text.data(), text.data() + text.size());
    line.push_back('\n');
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// The most bytes of lines that wait to be written: some thousands of lines.
constexpr size_t kMaxWaitingBytes = size_t{1} << 20;
// The most lines of one reason per second.
constexpr uint64_t kMaxLinesOfReason = 20;

// Never deleted, because it may wait for ever for a pipe that nobody reads.
LogWriter& StandardError() {
  static LogWriter& writer = *new LogWriter(STDERR_FILENO, kMaxWaitingBytes);
  return writer;
}

class StandardErrorSink final : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const absl::string_view payload(message.payload.data(), message.payload.size());
    const LogLimit::Verdict verdict = limit_.Check(payload, std::chrono::system_clock::now());
    if (!verdict.take) return;
    if (verdict.left_out > 0) {
      Tell(message, absl::StrCat("left out ", verdict.left_out, " lines like the next one"));
    }
    if (unwritten_ > 0 && Tell(message, absl::StrCat("left out ", unwritten_,
                                                     " lines, because standard error took none"))) {
      unwritten_ = 0;
    }
    if (!Write(message)) ++unwritten_;
  }

  void flush_() override {}

  // Logs `text` as a warning with the time and source of `message`.
  bool Tell(const spdlog::details::log_msg& message, const std::string& text) {
    return Write({message.time, message.source, message.logger_name, spdlog::level::warn, text});
  }

  bool Write(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string text(line.data(), line.size());
    if (colored_ && message.color_range_end > message.color_range_start) {
      const bool bad = message.level >= spdlog::level::err;
      text.insert(message.color_range_end, "\033[m");
      text.insert(message.color_range_start, bad                                    ? "\033[31m"
                                             : message.level >= spdlog::level::warn ? "\033[33m"
                                                                                    : "\033[32m");
    }
    return StandardError().Write(std::move(text));
  }

  const bool colored_ = isatty(STDERR_FILENO) == 1;
  LogLimit limit_{kMaxLinesOfReason};
  uint64_t unwritten_ = 0;
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

// Logs a line of gRPC, which itself leaves out lines below GRPC_VERBOSITY: by default, all but
// errors.
void LogForGrpc(gpr_log_func_args* line) {
  const absl::string_view path = line->file;
  spdlog::log(Level(line->severity), "gRPC {}:{}: {}",
              std::string(path.substr(path.rfind('/') + 1)), line->line, line->message);
}

}  // namespace

std::unique_ptr<spdlog::formatter> CreateJsonFormatter() {
  return std::make_unique<JsonFormatter>();
}

void FlushLog(std::chrono::milliseconds timeout) {
  StandardError().Flush(std::chrono::system_clock::now() + timeout);
}

void SetUpLogging(const std::string& level, const std::string& format) {
  auto logger = std::make_shared<spdlog::logger>("token-sampler-server",
                                                 std::make_shared<StandardErrorSink>());
  if (format == "json") {
    logger->set_formatter(CreateJsonFormatter());
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-5l%$ %v");
  }
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogForGrpc);
}

}  // namespace token_sampler
