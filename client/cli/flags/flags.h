// Flags that several commands share.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_FLAGS_FLAGS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_FLAGS_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/usage/command_line.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

// Exit codes of the program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;     // the call failed, or the server is not serving
using token_sampler::kExitUsage;          // the command line or a file that it names is wrong
inline constexpr int kExitRowFailed = 3;  // the call succeeded, some row failed

enum class Format { kTable, kJson };

// How tensors reach the server: in the request, or through shared memory.
enum class Plane { kInline, kShm };

// The server's address, and how long to wait for it.
struct ConnectionFlags {
  std::string address = "127.0.0.1:50051";
  absl::Duration timeout;

  absl::StatusOr<SamplerClient> Connect(int channels = 1) const;
};

// Each function adds its flags to a command. The variables that they set must outlive the parsing.
void AddConnectionFlags(CLI::App& app, ConnectionFlags& flags, absl::Duration default_timeout);
void AddFormatFlag(CLI::App& app, Format& format);
CLI::Option* AddPlaneFlag(CLI::App& app, Plane& plane);
CLI::Option* AddDataTypeFlag(CLI::App& app, std::optional<DataType>& dtype,
                             const std::string& description);

// Adds a flag that takes one of the names of `choices`.
template <typename Enum, typename Target>
CLI::Option* AddChoice(CLI::App& app, const std::string& name, Target& value,
                       const std::map<std::string, Enum>& choices, const std::string& description) {
  std::string names;
  for (const auto& [choice, unused] : choices) {
    absl::StrAppend(&names, names.empty() ? "" : "|", choice);
  }
  return app
      .add_option_function<std::string>(
          name, [&value, choices](const std::string& text) { value = choices.at(text); },
          description)
      ->check(CLI::Validator(
          [choices, names](const std::string& text) {
            return choices.count(text) > 0 ? ""
                                           : absl::StrCat("must be one of ", names, ", got ", text);
          },
          ""))
      ->type_name(names);
}

// Adds a flag that takes token ids: "1,2,3".
CLI::Option* AddIdsFlag(CLI::App& app, const std::string& name, std::vector<uint32_t>& ids,
                        const std::string& description);

// Parses "1,2,3" into `ids`. False when a part is no token id.
bool ParseIds(absl::string_view text, std::vector<uint32_t>& ids);

// Adds a flag that takes a duration above 0: a number of seconds, or a number with a unit (250ms,
// 1.5s, 2m).
CLI::Option* AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration& value,
                             const std::string& description);

// Removes the quotes from a number of 64 bits copied from JSON output, which has it as a string.
CLI::Validator WithoutQuotes();

// Reports the error of a call: writes "error: CODE: message" to standard error. Returns
// kExitFailed.
int Fail(const absl::Status& status);

// Reports an error of the command line or of a file: writes "error: message" to standard error.
// Returns `exit_code`.
int Refuse(absl::string_view message, int exit_code = kExitUsage);

// Writes to standard output. Returns `exit_code`, or kExitFailed when the text cannot be written.
int Print(absl::string_view text, int exit_code);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_FLAGS_FLAGS_H_
