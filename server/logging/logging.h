// Sets up the server's log.

#ifndef TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_
#define TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_

#include <spdlog/formatter.h>

#include <chrono>
#include <memory>
#include <string>

namespace token_sampler {

// Sends the lines of spdlog's default logger, and those of gRPC, to standard error. `level` is
// debug, info, warn or error; `format` is text (coloured on a terminal) or json. Nobody waits for a
// line to be written: if standard error does not take it, or a reason repeats itself, the line is
// left out, and the number of such lines is logged later. SIGPIPE must be ignored.
void SetUpLogging(const std::string& level, const std::string& format);

// Waits until all logged lines are written, but at most for `timeout`. Call it before the process
// ends.
void FlushLog(std::chrono::milliseconds timeout);

// Creates a formatter that writes one JSON object per line: time (UTC), level, message.
std::unique_ptr<spdlog::formatter> CreateJsonFormatter();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LOGGING_LOGGING_H_
