// Where the server's log goes and how it looks.

#ifndef TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_
#define TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_

#include <spdlog/formatter.h>

#include <chrono>
#include <memory>
#include <string>

namespace token_sampler {

// Sends spdlog's default logger, and with it what gRPC logs, to standard error. `level` is debug,
// info, warn or error; `format` is text (coloured on a terminal) or json. Nobody waits for a line
// to be written: when standard error takes none, or a reason repeats itself, lines are left out,
// and their number is told later. SIGPIPE must be ignored.
void SetUpLogging(const std::string& level, const std::string& format);

// Waits until what was logged is written, but no longer than `timeout`. Call it before the process
// ends.
void FlushLog(std::chrono::milliseconds timeout);

// One JSON object per line: time (UTC), level, message.
std::unique_ptr<spdlog::formatter> CreateJsonFormatter();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_
