#include "client/cli/flags/flags.h"

#include <cerrno>
#include <cstring>
#include <iostream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace token_sampler::client {
namespace {

// Zero when the text is not a duration above 0.
absl::Duration ParseDuration(const std::string& text) {
  double seconds = 0.0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::ZeroDuration();
  }
  const bool usable = duration > absl::ZeroDuration() && duration < absl::InfiniteDuration();
  return usable ? duration : absl::ZeroDuration();
}

}  // namespace

absl::StatusOr<SamplerClient> ConnectionFlags::Connect(int channels) const {
  ClientOptions options;
  options.timeout = timeout;
  options.channels = channels;
  absl::StatusOr<SamplerClient> client = SamplerClient::Connect(address, options);
  if (client.ok()) return client;
  // The library's message begins with the name of an option: address, timeout or channels.
  return absl::Status(client.status().code(), absl::StrCat("--", client.status().message()));
}

void AddConnectionFlags(CLI::App& app, ConnectionFlags& flags, absl::Duration default_timeout) {
  flags.timeout = default_timeout;
  app.add_option("--address", flags.address, "Server: host:port or unix:/path")
      ->envname("TOKEN_SAMPLER_ADDRESS")
      ->capture_default_str()
      ->type_name("ADDRESS")
      ->group("Server");
  AddDurationFlag(app, "--timeout", flags.timeout, "Longest wait for an answer")
      ->envname("TOKEN_SAMPLER_TIMEOUT")
      ->group("Server");
}

void AddFormatFlag(CLI::App& app, Format& format) {
  AddChoice<Format>(app, "--format", format, {{"table", Format::kTable}, {"json", Format::kJson}},
                    "Form of the output")
      ->default_str("table")
      ->group("Output");
}

CLI::Option* AddPlaneFlag(CLI::App& app, Plane& plane) {
  return AddChoice<Plane>(app, "--plane", plane, {{"inline", Plane::kInline}, {"shm", Plane::kShm}},
                          "How the rows reach the server: in the request, or in shared memory")
      ->default_str("inline");
}

CLI::Option* AddDataTypeFlag(CLI::App& app, std::optional<DataType>& dtype,
                             const std::string& description) {
  return AddChoice<DataType>(app, "--dtype", dtype,
                             {{"f32", DataType::kFloat32},
                              {"f16", DataType::kFloat16},
                              {"bf16", DataType::kBFloat16},
                              {"f64", DataType::kFloat64}},
                             description);
}

CLI::Option* AddIdsFlag(CLI::App& app, const std::string& name, std::vector<uint32_t>& ids,
                        const std::string& description) {
  return app
      .add_option_function<std::string>(
          name,
          [name, &ids](const std::string& text) {
            if (!ParseIds(text, ids)) {
              throw CLI::ValidationError(name, absl::StrCat("must be ID,ID,..., got ", text));
            }
          },
          description)
      ->type_name("ID,ID,...");
}

bool ParseIds(absl::string_view text, std::vector<uint32_t>& ids) {
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!absl::SimpleAtoi(part, &ids.emplace_back())) return false;
  }
  return true;
}

CLI::Option* AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration& value,
                             const std::string& description) {
  const CLI::Validator check(
      [](const std::string& text) {
        return ParseDuration(text) > absl::ZeroDuration()
                   ? ""
                   : absl::StrCat("must be a time above 0 (2, 250ms, 1.5s, 1m), got ", text);
      },
      "");
  return app
      .add_option_function<std::string>(
          name, [&value](const std::string& text) { value = ParseDuration(text); }, description)
      ->check(check)
      ->type_name("TIME")
      ->default_str(absl::FormatDuration(value));
}

CLI::Validator WithoutQuotes() {
  return CLI::Validator(
      [](std::string& text) {
        if (text.size() > 2 && text.front() == '"' && text.back() == '"') {
          text = text.substr(1, text.size() - 2);
        }
        return std::string();
      },
      "");
}

int Fail(const absl::Status& status) {
  return Refuse(absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message()),
                kExitFailed);
}

int Refuse(absl::string_view message, int exit_code) {
  std::cerr << "error: " << message << std::endl;
  return exit_code;
}

int Print(absl::string_view text, int exit_code) {
  errno = 0;
  std::cout.write(text.data(), static_cast<std::streamsize>(text.size())).flush();
  if (std::cout) return exit_code;
  return Refuse(absl::StrCat("standard output cannot be written: ", std::strerror(errno)),
                kExitFailed);
}

}  // namespace token_sampler::client
