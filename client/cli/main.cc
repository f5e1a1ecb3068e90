// token-sampler-client: asks a token-sampler server from the command line.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/commands.h"
#include "client/cli/flags/flags.h"
#include "client/usage/command_line.h"
#include "client/usage/environment.h"

namespace token_sampler::client {
namespace {

int Run(int argc, char** argv) {
  CLI::App program("Asks a token-sampler server for tokens.", "token-sampler-client");
  program.set_version_flag("--version", TOKEN_SAMPLER_VERSION);
  program.require_subcommand(1);
  program.footer(
      "The environment may hold TOKEN_SAMPLER_ADDRESS and TOKEN_SAMPLER_TIMEOUT; flags win.\n"
      "Exit codes: 0 success, 1 the call failed or the server is not serving, 2 bad command line\n"
      "or file, 3 some row failed. `COMMAND --help` lists the flags of a command.");
  const std::vector<Command> commands = {AddSampleCommand(program), AddDescribeCommand(program),
                                         AddVerifyCommand(program), AddInfoCommand(program),
                                         AddHealthCommand(program), AddLoadCommand(program)};
  if (const std::optional<int> exit_code = ParseArguments(program, argc, argv)) return *exit_code;
  for (const std::string& warning : UnknownVariables(environ)) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  for (const auto& [app, run] : commands) {
    if (app->parsed()) return run();
  }
  return kExitUsage;
}

}  // namespace
}  // namespace token_sampler::client

int main(int argc, char** argv) {
  try {
    return token_sampler::client::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return token_sampler::client::kExitFailed;
  }
}
