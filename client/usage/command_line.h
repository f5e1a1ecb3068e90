// Command lines of both programs: how they are parsed, and what a mistake is answered with.

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

// Parses the arguments. Returns the exit code of a program that is to end: 0 after --help and
// --version, kExitUsage after a mistake. Whichever it is has been printed; a flag or command that
// there is not, with the nearest that there is.
std::optional<int> ParseArguments(CLI::App& program, int argc, const char* const* argv);

// Accepts only decimal whole numbers in [low, high]: CLI11 itself takes 010 for 8 and cuts what is
// too large. `hint` is said after the range, such as "0 is off".
CLI::Validator WholeNumber(uint64_t low = 0, uint64_t high = std::numeric_limits<uint64_t>::max(),
                           absl::string_view hint = "");

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_COMMAND_LINE_H_
