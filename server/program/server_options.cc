#include "server/program/server_options.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/status_macros.h"
#include "server/calls/call_identity.h"
#include "server/listener/listen_socket.h"

namespace token_sampler {
namespace {

constexpr uint64_t kMaxUint32 = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kMaxUint64 = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kMaxTimeMs = 24 * 60 * 60 * 1000;
constexpr uint64_t kMaxMetadataBytes = uint64_t{16} << 20;  // gRPC's own limit

constexpr NumberFlag kNumberFlags[] = {
    {"--max-message-bytes", 1024, std::numeric_limits<int32_t>::max(),
     [](const ServerOptions& options) { return options.max_message_bytes; }},
    {"--max-response-bytes", 65536, std::numeric_limits<int32_t>::max(),
     [](const ServerOptions& options) { return uint64_t{options.request.max_response_bytes}; }},
    {"--memory-budget", 0, kMaxUint64,
     [](const ServerOptions& options) { return options.memory_budget; }},
    {"--max-metadata-bytes", 8192, kMaxMetadataBytes,
     [](const ServerOptions& options) { return options.max_metadata_bytes; }},
    {"--max-connections", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.max_connections; }},
    {"--max-connections-per-peer", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.max_connections_per_peer; }},
    {"--max-connection-rate", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.max_connection_rate; }},
    {"--stall-timeout-ms", 100, kMaxTimeMs,
     [](const ServerOptions& options) {
       return static_cast<uint64_t>(options.stall_timeout.count());
     }},
    {"--threads", 0, kMaxCpuThreads,
     [](const ServerOptions& options) { return static_cast<uint64_t>(options.threads); }},
    {"--max-rows", 1, kMaxUint32,
     [](const ServerOptions& options) { return uint64_t{options.request.max_rows}; }},
    {"--max-vocab", 1, kMaxVocab,
     [](const ServerOptions& options) { return uint64_t{options.request.max_vocab}; }},
    {"--max-regions", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.regions.max_regions; }},
    {"--max-regions-per-peer", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.regions.max_regions_per_peer; }},
    {"--max-regions-per-owner", 1, kMaxUint32,
     [](const ServerOptions& options) { return options.regions.max_regions_per_owner; }},
    {"--executors", 0, 256,
     [](const ServerOptions& options) {
       return static_cast<uint64_t>(options.batcher.num_executors);
     }},
    {"--max-batch-rows", 1, kMaxUint32,
     [](const ServerOptions& options) { return uint64_t{options.batcher.max_batch_rows}; }},
    {"--max-queued-rows", 1, kMaxUint64,
     [](const ServerOptions& options) { return uint64_t{options.batcher.max_queued_rows}; }},
    {"--max-queued-bytes", 1, kMaxUint64,
     [](const ServerOptions& options) { return uint64_t{options.batcher.max_queued_bytes}; }},
    {"--max-queued-rows-per-client", 0, kMaxUint64,
     [](const ServerOptions& options) {
       return uint64_t{options.batcher.max_queued_rows_per_client};
     }},
    {"--max-queued-bytes-per-client", 0, kMaxUint64,
     [](const ServerOptions& options) {
       return uint64_t{options.batcher.max_queued_bytes_per_client};
     }},
    {"--max-sequence-tokens", 1, kMaxUint32,
     [](const ServerOptions& options) { return uint64_t{options.sequences.max_tokens}; }},
    {"--max-sequence-bytes", 1, kMaxUint64,
     [](const ServerOptions& options) { return uint64_t{options.sequences.max_bytes}; }},
    {"--drain-delay-ms", 0, kMaxTimeMs,
     [](const ServerOptions& options) {
       return static_cast<uint64_t>(options.drain_delay.count());
     }},
    {"--drain-timeout-ms", 0, kMaxTimeMs,
     [](const ServerOptions& options) {
       return static_cast<uint64_t>(options.drain_timeout.count());
     }},
};

template <size_t N>
absl::Status CheckChoice(absl::string_view flag, const std::string& value,
                         const std::array<absl::string_view, N>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " must be one of ", absl::StrJoin(choices, ", "), ", got ", value));
}

}  // namespace

absl::Span<const NumberFlag> NumberFlags() { return kNumberFlags; }

absl::StatusOr<ClientWeights> ParseClientWeights(const std::vector<std::string>& weights) {
  constexpr double kLeast = 0.001;
  constexpr double kMost = 1000;
  ClientWeights parsed;
  for (const std::string& entry : weights) {
    const std::string where = absl::StrCat("--client-weight \"", entry, "\": ");
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(where + "must be CLIENT=WEIGHT");
    }
    absl::StatusOr<std::string> client = ParseClientName(entry.substr(0, equals));
    if (!client.ok()) {
      return absl::InvalidArgumentError(where + std::string(client.status().message()));
    }
    double weight = 0;
    if (!absl::SimpleAtod(entry.substr(equals + 1), &weight) ||
        !(weight >= kLeast && weight <= kMost)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, "the weight must be in [", kLeast, ", ", kMost, "]"));
    }
    if (!parsed.emplace(*std::move(client), weight).second) {
      return absl::InvalidArgumentError(where + "the client has a weight already");
    }
  }
  return parsed;
}

absl::Status ValidateOptions(const ServerOptions& options) {
  if (options.listen.empty()) {
    return absl::InvalidArgumentError("--listen must name at least one address");
  }
  for (const std::string& address : options.listen) {
    RETURN_IF_ERROR(ParseListenAddress(address).status());
  }
  RETURN_IF_ERROR(ParseSocketMode(options.socket_mode).status());
  RETURN_IF_ERROR(ParseClientWeights(options.client_weights).status());
  RETURN_IF_ERROR(CheckChoice<3>("--device", options.device, {"auto", "cpu", "cuda"}));
  RETURN_IF_ERROR(
      CheckChoice<4>("--log-level", options.log_level, {"debug", "info", "warn", "error"}));
  RETURN_IF_ERROR(CheckChoice<2>("--log-format", options.log_format, {"text", "json"}));
  RETURN_IF_ERROR(
      CheckChoice<4>("--shared-memory", options.regions.kinds, {"off", "system", "cuda", "all"}));
  RETURN_IF_ERROR(CheckChoice<2>("--shared-memory-peers", options.regions.peers, {"local", "any"}));
  RETURN_IF_ERROR(
      CheckChoice<2>("--shared-memory-owners", options.regions.owners, {"client", "any"}));
  for (const NumberFlag& flag : kNumberFlags) {
    const uint64_t value = flag.value(options);
    if (value >= flag.low && value <= flag.high) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(flag.name, " must be in [", flag.low, ", ", flag.high, "], got ", value));
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
