// The program's subcommands. Each function adds one to the program, and returns it with the
// function that runs it and returns the exit code.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_COMMANDS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <utility>

namespace token_sampler::client {

using Command = std::pair<CLI::App*, std::function<int()>>;

Command AddSampleCommand(CLI::App& program);
Command AddDescribeCommand(CLI::App& program);
Command AddVerifyCommand(CLI::App& program);
Command AddInfoCommand(CLI::App& program);
Command AddHealthCommand(CLI::App& program);
Command AddLoadCommand(CLI::App& program);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_COMMANDS_H_
