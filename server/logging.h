// Where the server's log goes and how it looks.

#ifndef TOKEN_SAMPLER_SERVER_LOGGING_H_
#define TOKEN_SAMPLER_SERVER_LOGGING_H_

#include <spdlog/formatter.h>

#include <memory>
#include <string>

namespace token_sampler {

// Sends spdlog's default logger, and with it what gRPC logs, to standard error. `level` is debug,
// info, warn or error; `format` is text (coloured on a terminal) or json.
void SetUpLogging(const std::string& level, const std::string& format);

// One JSON object per line: time (UTC), level, message.
std::unique_ptr<spdlog::formatter> CreateJsonFormatter();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_LOGGING_H_
