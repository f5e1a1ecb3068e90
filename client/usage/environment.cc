#include "client/usage/environment.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/usage/nearest_name.h"

namespace token_sampler {
namespace {

constexpr absl::string_view kPrefix = "TOKEN_SAMPLER_";

// Names without the prefix.
constexpr absl::string_view kOfServer[] = {"ADDRESS_FILE",
                                           "CLIENT_WEIGHT",
                                           "DEVICE",
                                           "DRAIN_DELAY_MS",
                                           "DRAIN_TIMEOUT_MS",
                                           "EXECUTORS",
                                           "LISTEN",
                                           "LOG_FORMAT",
                                           "LOG_LEVEL",
                                           "MAX_BATCH_ROWS",
                                           "MAX_CONNECTIONS",
                                           "MAX_CONNECTIONS_PER_PEER",
                                           "MAX_CONNECTION_RATE",
                                           "MAX_MESSAGE_BYTES",
                                           "MAX_METADATA_BYTES",
                                           "MAX_QUEUED_BYTES",
                                           "MAX_QUEUED_BYTES_PER_CLIENT",
                                           "MAX_QUEUED_ROWS",
                                           "MAX_QUEUED_ROWS_PER_CLIENT",
                                           "MAX_REGIONS",
                                           "MAX_REGIONS_PER_OWNER",
                                           "MAX_REGIONS_PER_PEER",
                                           "MAX_RESPONSE_BYTES",
                                           "MAX_ROWS",
                                           "MAX_SEQUENCE_BYTES",
                                           "MAX_SEQUENCE_TOKENS",
                                           "MAX_VOCAB",
                                           "MEMORY_BUDGET",
                                           "SHARED_MEMORY",
                                           "SHARED_MEMORY_OWNERS",
                                           "SHARED_MEMORY_PEERS",
                                           "SHARED_MEMORY_PREFIX",
                                           "SOCKET_GROUP",
                                           "SOCKET_MODE",
                                           "STALL_TIMEOUT_MS",
                                           "THREADS"};
constexpr absl::string_view kOfClient[] = {"ADDRESS", "TIMEOUT"};
constexpr absl::string_view kOfTests[] = {"CONFORMANCE_SCALE", "EMULATED_BENCH", "EMULATED_CHECK",
                                          "TEST_DATA"};

// The names of all variables.
std::vector<std::string> Names(const char* const* environment) {
  std::vector<std::string> names;
  for (; *environment != nullptr; ++environment) {
    const absl::string_view entry = *environment;
    names.emplace_back(entry.substr(0, entry.find('=')));
  }
  return names;
}

// Kubernetes adds variables for each service of the pod's namespace, also for one called
// token-sampler. It always adds ..._SERVICE_HOST, which distinguishes them from misspelt ones.
bool IsOfService(absl::string_view name, const std::vector<std::string>& all) {
  return std::any_of(all.begin(), all.end(), [&](absl::string_view host) {
    if (!absl::ConsumeSuffix(&host, "_SERVICE_HOST")) return false;
    absl::string_view rest = name;
    return absl::ConsumePrefix(&rest, host) &&
           (absl::StartsWith(rest, "_SERVICE_") || absl::StartsWith(rest, "_PORT"));
  });
}

}  // namespace

std::vector<std::string> UnknownVariables(const char* const* environment) {
  std::vector<std::string> known;
  for (const absl::string_view name : kOfServer) known.push_back(absl::StrCat(kPrefix, name));
  for (const absl::string_view name : kOfClient) known.push_back(absl::StrCat(kPrefix, name));
  const std::vector<std::string> suggested = known;  // do not suggest the tests' variables
  for (const absl::string_view name : kOfTests) known.push_back(absl::StrCat(kPrefix, name));

  std::vector<std::string> warnings;
  const std::vector<std::string> names = Names(environment);
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kPrefix) || IsOfService(name, names)) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    warnings.push_back(
        absl::StrCat("nothing reads the environment variable ", name, DidYouMean(name, suggested)));
  }
  return warnings;
}

}  // namespace token_sampler
