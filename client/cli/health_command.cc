// `health`: for probes. The exit code is 0 if the server serves.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/flags/flags.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {
namespace {

struct HealthFlags {
  ConnectionFlags connection;
  std::string service;
};

int RunHealth(const HealthFlags& flags) {
  absl::StatusOr<SamplerClient> client = flags.connection.Connect();
  if (!client.ok()) return Refuse(client.status().message());
  absl::StatusOr<HealthStatus> health = client->CheckHealth(flags.service);
  if (!health.ok()) return Fail(health.status());
  return Print(absl::StrCat(HealthStatusName(*health), "\n"),
               *health == HealthStatus::kServing ? kExitOk : kExitFailed);
}

}  // namespace

Command AddHealthCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "health", "Ask for the server's health; the exit code is 0 if it serves");
  auto flags = std::make_shared<HealthFlags>();
  AddConnectionFlags(*app, flags->connection, absl::Seconds(5));
  app->add_option("--service", flags->service, "The service to ask for [the whole server]")
      ->type_name("NAME");
  return {app, [flags] { return RunHealth(*flags); }};
}

}  // namespace token_sampler::client
