#include "client/usage/command_line.h"

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/usage/nearest_name.h"

namespace token_sampler {
namespace {

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

std::vector<std::string> CommandsOf(const CLI::App& app) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  return commands;
}

// The message about the first argument that nothing accepted, or "" when all were accepted.
std::string Unexpected(const CLI::App& app) {
  const std::vector<std::string> left = app.remaining();
  if (left.empty()) {
    for (const CLI::App* command : app.get_subcommands()) {
      if (std::string text = Unexpected(*command); !text.empty()) return text;
    }
    return "";
  }
  const std::string name = left.front().substr(0, left.front().find('='));
  const std::vector<std::string> commands = CommandsOf(app);
  if (absl::StartsWith(name, "-")) {
    const std::string nearest = DidYouMean(name, FlagsOf(app));
    const bool misplaced = nearest.empty() && !commands.empty();
    return absl::StrCat(app.get_name(), " has no flag ", name, nearest,
                        misplaced ? "; flags of a command stand after it" : "");
  }
  if (commands.empty()) return absl::StrCat(app.get_name(), ": unexpected argument ", name);
  return absl::StrCat(app.get_name(), " has no command ", name, DidYouMean(name, commands));
}

}  // namespace

std::optional<int> ParseArguments(CLI::App& program, int argc, const char* const* argv) {
  try {
    program.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    // A misspelt flag or command is often reported as missing too: the unexpected argument explains
    // both.
    const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
    if (code == CLI::ExitCodes::ExtrasError || code == CLI::ExitCodes::RequiredError) {
      if (const std::string text = Unexpected(program); !text.empty()) {
        std::cerr << text << "\nRun with --help for more information.\n";
        return kExitUsage;
      }
    }
    return program.exit(error) == 0 ? 0 : kExitUsage;
  }
}

CLI::Validator WholeNumber(uint64_t low, uint64_t high, absl::string_view hint) {
  const std::string range =
      absl::StrCat("[", low, ", ", high, "]", hint.empty() ? "" : absl::StrCat(", where ", hint));
  return CLI::Validator(
      [low, high, range](const std::string& text) {
        uint64_t number = 0;
        const bool decimal = !text.empty() &&
                             absl::ascii_isdigit(static_cast<unsigned char>(text[0])) &&
                             (text[0] != '0' || text.size() == 1);
        if (decimal && absl::SimpleAtoi(text, &number) && number >= low && number <= high) {
          return std::string();
        }
        return absl::StrCat("must be a whole number in ", range, ", got ", text);
      },
      "");
}

}  // namespace token_sampler
