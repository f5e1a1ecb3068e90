#include "server/program/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cassert>
#include <cctype>
#include <cstdio>
#include <string>
#include <type_traits>

#include "absl/types/span.h"
#include "client/usage/command_line.h"

namespace token_sampler {
namespace {

std::string EnvironmentName(const std::string& flag) {
  std::string name = "TOKEN_SAMPLER_" + flag.substr(2);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

template <typename Value>
CLI::Option* AddFlag(CLI::App& app, const char* flag, Value& value, const char* help) {
  CLI::Option* option =
      app.add_option(flag, value, help)->envname(EnvironmentName(flag))->capture_default_str();
  if constexpr (std::is_integral_v<Value>) {
    const absl::Span<const NumberFlag> flags = NumberFlags();
    const auto found = std::find_if(flags.begin(), flags.end(),
                                    [&](const NumberFlag& number) { return number.name == flag; });
    assert(found != flags.end());
    option->check(WholeNumber(found->low, found->high));
  }
  return option;
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  CommandLine parsed;
  ServerOptions& options = parsed.options;
  int64_t stall_timeout_ms = options.stall_timeout.count();
  int64_t drain_delay_ms = options.drain_delay.count();
  int64_t drain_timeout_ms = options.drain_timeout.count();

  CLI::App app("Turns batches of logits into token ids over gRPC.", "token-sampler-server");
  app.set_version_flag("--version", "token-sampler-server " TOKEN_SAMPLER_VERSION);
  app.get_formatter()->column_width(34);
  AddFlag(app, "--listen", options.listen,
          "Address: host:port, port 0 for any free one, or unix:/path. Repeatable; in the "
          "environment, separated by commas")
      ->delimiter(',');
  AddFlag(app, "--device", options.device,
          "auto (CUDA when a device answers, else CPU), cpu, or cuda (an error without one)");
  AddFlag(app, "--threads", options.threads,
          "Threads of the CPU sampler; 0: one per CPU that affinity and cgroup quotas allow");
  AddFlag(app, "--address-file", options.address_file,
          "Write the bound addresses here, one per line, once serving");
  AddFlag(app, "--socket-mode", options.socket_mode,
          "Mode of Unix sockets, in octal; who may write may connect");
  AddFlag(app, "--socket-group", options.socket_group, "Group of Unix sockets, a name or a number");
  AddFlag(app, "--max-connections", options.max_connections,
          "Most open connections; the server closes further ones");
  AddFlag(app, "--max-connections-per-peer", options.max_connections_per_peer,
          "Most open connections of one IPv4 address, IPv6 /64 or user of a Unix socket");
  AddFlag(
      app, "--max-connection-rate", options.max_connection_rate,
      "Most new connections of one such peer per second, after a burst of as many as it may have");
  AddFlag(app, "--stall-timeout-ms", stall_timeout_ms,
          "Close connections that leave a message half sent or an answer unread for this long");
  AddFlag(app, "--max-message-bytes", options.max_message_bytes, "Largest request");
  AddFlag(app, "--max-response-bytes", options.request.max_response_bytes, "Largest answer");
  AddFlag(
      app, "--memory-budget", options.memory_budget,
      "Most bytes of requests, answers and sequences together; 0: half of the memory of the cgroup "
      "or the machine");
  AddFlag(app, "--max-metadata-bytes", options.max_metadata_bytes,
          "Largest headers of a call; larger ones may break other calls of their connection");
  AddFlag(app, "--max-rows", options.request.max_rows, "Most rows of one call");
  AddFlag(app, "--max-vocab", options.request.max_vocab, "Longest row");
  AddFlag(app, "--shared-memory", options.regions.kinds,
          "Where tensors may be besides the request: off, system, cuda or all");
  AddFlag(app, "--shared-memory-prefix", options.regions.prefix,
          "How the names of shared-memory objects that clients may register must begin");
  AddFlag(app, "--shared-memory-peers", options.regions.peers,
          "Who may use shared memory: local (Unix socket, loopback) or any");
  AddFlag(app, "--shared-memory-owners", options.regions.owners,
          "Who may use a region: client (only the user or the address that registered it) or any");
  AddFlag(app, "--max-regions", options.regions.max_regions, "Most regions");
  AddFlag(app, "--max-regions-per-peer", options.regions.max_regions_per_peer,
          "Most regions of one connection");
  AddFlag(app, "--max-regions-per-owner", options.regions.max_regions_per_owner,
          "Most regions of objects that one user owns");
  AddFlag(
      app, "--executors", options.batcher.num_executors,
      "Threads that run batches; 0: as many as the sampler can use, 1 for CPUs, 2 per CUDA device");
  AddFlag(app, "--max-batch-rows", options.batcher.max_batch_rows,
          "Most rows that waiting calls are gathered into");
  AddFlag(app, "--max-queued-rows", options.batcher.max_queued_rows,
          "Most rows that may wait; the server refuses further calls");
  AddFlag(app, "--max-queued-bytes", options.batcher.max_queued_bytes,
          "Most bytes that may wait; the server refuses further calls");
  AddFlag(app, "--max-queued-rows-per-client", options.batcher.max_queued_rows_per_client,
          "Most rows of one client that may wait; 0: as many as of all");
  AddFlag(app, "--max-queued-bytes-per-client", options.batcher.max_queued_bytes_per_client,
          "Most bytes of one client that may wait; 0: as many as of all");
  AddFlag(app, "--client-weight", options.client_weights,
          "CLIENT=WEIGHT: a client's share of the time and of the queue, 1 unless it is named. "
          "Clients are ipv4:ADDRESS, ipv6:ADDRESS (its /64) and unix:UID. Repeatable; in the "
          "environment, separated by commas")
      ->delimiter(',');
  AddFlag(app, "--max-sequence-tokens", options.sequences.max_tokens,
          "Longest sequence of a stream, prompt and output");
  AddFlag(app, "--max-sequence-bytes", options.sequences.max_bytes,
          "Most bytes of the sequences of all streams");
  AddFlag(app, "--drain-delay-ms", drain_delay_ms,
          "After SIGTERM, time to report NOT_SERVING before calls are refused");
  AddFlag(app, "--drain-timeout-ms", drain_timeout_ms, "Then, time for calls in flight to finish");
  AddFlag(app, "--log-level", options.log_level, "debug, info, warn or error");
  AddFlag(app, "--log-format", options.log_format, "text or json (one object per line)");
  app.footer(
      "Each flag is also an environment variable: --max-rows is TOKEN_SAMPLER_MAX_ROWS.\n"
      "Exit codes: 0 ended by SIGTERM or SIGINT, 1 it could not start or lost its device, 2 bad\n"
      "command line or environment, 128 + N ended at once by a second signal N.");

  parsed.exit_code = ParseArguments(app, argc, argv);
  if (parsed.exit_code.has_value()) return parsed;
  options.stall_timeout = std::chrono::milliseconds(stall_timeout_ms);
  options.drain_delay = std::chrono::milliseconds(drain_delay_ms);
  options.drain_timeout = std::chrono::milliseconds(drain_timeout_ms);
  if (const absl::Status status = ValidateOptions(options); !status.ok()) {
    std::fprintf(stderr, "%s\nRun with --help for more information.\n",
                 std::string(status.message()).c_str());
    parsed.exit_code = kExitUsage;
  }
  return parsed;
}

}  // namespace token_sampler
