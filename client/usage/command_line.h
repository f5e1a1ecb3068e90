// Parses the command lines of both programs, and reports mistakes in them.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_COMMAND_LINE_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <optional>

#include "absl/strings/string_view.h"

namespace token_sampler {

// The exit code after a mistake on the command line, in the environment or in a file named there.
inline constexpr int kExitUsage = 2;

// Parses the arguments. Returns nullopt, or the exit code if the program must end: 0 after --help
// and --version, kExitUsage after a mistake. It has then printed the help, the version or the
// mistake; for an unknown flag or command, with the nearest known one.
std::optional<int> ParseArguments(CLI::App& program, int argc, const char* const* argv);

// Accepts only decimal whole numbers in [low, high]: CLI11 itself reads 010 as 8 and truncates
// numbers that are too large. Errors state `hint`, such as "0 is off", after the range.
CLI::Validator WholeNumber(uint64_t low = 0, uint64_t high = std::numeric_limits<uint64_t>::max(),
                           absl::string_view hint = "");

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_COMMAND_LINE_H_
