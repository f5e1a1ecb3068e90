// `info`: what runs at an address, and its limits.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/flags/flags.h"
#include "client/cli/reports/table.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {
namespace {

struct InfoFlags {
  ConnectionFlags connection;
  Format format = Format::kTable;
};

// Comma-separated, in lines of at most `width` characters that start at column `indent`.
std::string Wrapped(const std::vector<std::string>& items, size_t indent, size_t width) {
  std::string text;
  size_t column = indent;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string item = absl::StrCat(items[i], i + 1 < items.size() ? ", " : "");
    if (column > indent && column + item.size() > width) {
      absl::StrAppend(&text, "\n", std::string(indent, ' '));
      column = indent;
    }
    absl::StrAppend(&text, item);
    column += item.size();
  }
  return text;
}

// A line such as "rows left to CPU   TYPICAL_P 12, outputs 3", if there are any.
std::string FallbackLine(const ServerInfo& info) {
  if (info.fallbacks.empty()) return "";
  const auto append = [](std::string* text, const ServerInfo::Fallback& fallback) {
    absl::StrAppend(text, fallback.reason, " ", fallback.rows);
  };
  return absl::StrCat("\nrows left to CPU   ", absl::StrJoin(info.fallbacks, ", ", append));
}

std::string InfoTable(const ServerInfo& info) {
  constexpr absl::string_view kFeatures = "features           ";
  return absl::StrCat("version            ", info.version,                //
                      "\nspecification      ", info.spec_version,         //
                      "\nbackend            ", info.backend,              //
                      "\ndevice             ", info.device,               //
                      "\nmax rows           ", info.max_rows,             //
                      "\nmax vocab          ", info.max_vocab,            //
                      "\nmax message bytes  ", info.max_message_bytes,    //
                      "\nmax response bytes ", info.max_response_bytes,   //
                      "\nmemory budget      ", info.memory_budget_bytes,  //
                      "\nmax num samples    ", info.max_num_samples,      //
                      FallbackLine(info),                                 //
                      "\n", kFeatures, Wrapped(info.features, kFeatures.size(), TerminalWidth()),
                      "\n");
}

std::string InfoJson(const ServerInfo& info) {
  nlohmann::ordered_json fallbacks = nlohmann::ordered_json::object();
  for (const ServerInfo::Fallback& fallback : info.fallbacks) {
    fallbacks[fallback.reason] = fallback.rows;
  }
  const nlohmann::ordered_json json = {{"version", info.version},
                                       {"spec_version", info.spec_version},
                                       {"backend", info.backend},
                                       {"device", info.device},
                                       {"max_rows", info.max_rows},
                                       {"max_vocab", info.max_vocab},
                                       {"max_message_bytes", info.max_message_bytes},
                                       {"max_response_bytes", info.max_response_bytes},
                                       {"memory_budget_bytes", info.memory_budget_bytes},
                                       {"max_num_samples", info.max_num_samples},
                                       {"fallbacks", fallbacks},
                                       {"features", info.features}};
  return absl::StrCat(json.dump(2), "\n");
}

int RunInfo(const InfoFlags& flags) {
  absl::StatusOr<SamplerClient> client = flags.connection.Connect();
  if (!client.ok()) return Refuse(client.status().message());
  absl::StatusOr<ServerInfo> info = client->GetServerInfo();
  if (!info.ok()) return Fail(info.status());
  return Print(flags.format == Format::kJson ? InfoJson(*info) : InfoTable(*info), kExitOk);
}

}  // namespace

Command AddInfoCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand("info", "Show the server's version, device and limits");
  auto flags = std::make_shared<InfoFlags>();
  AddConnectionFlags(*app, flags->connection, absl::Seconds(5));
  AddFormatFlag(*app, flags->format);
  return {app, [flags] { return RunInfo(*flags); }};
}

}  // namespace token_sampler::client
