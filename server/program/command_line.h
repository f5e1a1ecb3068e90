// Parses flags and environment variables into ServerOptions.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_COMMAND_LINE_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_COMMAND_LINE_H_

#include <optional>

#include "server/program/server_options.h"

namespace token_sampler {

// The result of parsing: options to serve with or, after --help, --version or an error, for which
// the parser has printed the text, an exit code: 0 or kExitUsage.
struct CommandLine {
  ServerOptions options;
  std::optional<int> exit_code;
};

// Parses the command line. A flag takes precedence over its environment variable: --max-rows over
// TOKEN_SAMPLER_MAX_ROWS.
CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_COMMAND_LINE_H_
