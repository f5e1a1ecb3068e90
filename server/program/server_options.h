// Every tunable of the server, its default, and what is accepted.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_OPTIONS_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/batching/batcher.h"
#include "server/codec/request_codec.h"
#include "server/regions/region_registry.h"
#include "server/sequences/sequence.h"

namespace token_sampler {

struct ServerOptions {
  // "host:port", "[v6]:port" (port 0: any free one) or "unix:/path"; at least one.
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  std::string address_file;  // written once serving: a bound address per line
  std::string socket_mode;   // of Unix sockets, in octal; empty: as the umask has it
  std::string socket_group;  // of Unix sockets; empty: the process's own
  // At once, in all and from one peer: an IPv4 address, an IPv6 /64, a user of a Unix socket. Fewer
  // where the limit of descriptors is lower.
  uint64_t max_connections = 8192;
  uint64_t max_connections_per_peer = 4096;
  // New ones of one peer in a second. After a rest it may make max_connections_per_peer at once, so
  // that all clients of a proxy that was restarted get in.
  uint64_t max_connection_rate = 100;
  // A connection is closed whose peer lets a message, headers or an answer stand still for so long:
  // that sends, or takes, less than 16 KiB of it.
  std::chrono::milliseconds stall_timeout{60'000};
  std::string device = "auto";  // auto, cpu or cuda
  int threads = 0;              // of the CPU sampler; 0: as many as this process has CPUs
  uint64_t max_message_bytes = uint64_t{256} << 20;  // of one request; at most 2^31 - 1
  uint64_t memory_budget = 0;  // of what callers make the server hold; 0: DefaultMemoryBudget
  // Limit of one call's headers. gRPC 1.51 lets larger ones break other calls of their connection,
  // so this is above what proxies let through.
  uint64_t max_metadata_bytes = uint64_t{256} << 10;
  // Received of messages that are not complete; beyond, connections that have more than others are
  // closed. At least as large a message can be received. Fewer on small machines:
  // BoundsOfTransport.
  uint64_t max_incomplete_bytes = uint64_t{512} << 20;
  RequestLimits
      request;  // but for regions, callers, ledger and max_parsed_bytes, which the server sets
  RegionOptions regions;
  SequenceLimits sequences;
  BatcherOptions batcher = {.num_executors = 0};    // but for client_weights, made of the next
  std::vector<std::string> client_weights;          // "NAME=WEIGHT", names as ParseClientName's
  std::chrono::milliseconds drain_delay{0};         // NOT_SERVING, yet accepting calls
  std::chrono::milliseconds drain_timeout{10'000};  // then for calls in flight to finish
  std::string log_level = "info";                   // debug, info, warn or error
  std::string log_format = "text";                  // text or json
};

// A flag that takes a whole number, and what is accepted.
struct NumberFlag {
  absl::string_view name;  // with its dashes
  uint64_t low;
  uint64_t high;
  uint64_t (*value)(const ServerOptions& options);
};

absl::Span<const NumberFlag> NumberFlags();

// Reads ServerOptions::client_weights; weights are in [0.001, 1000]. InvalidArgument as below.
absl::StatusOr<ClientWeights> ParseClientWeights(const std::vector<std::string>& weights);

// InvalidArgument names the flag, its value and what is accepted.
absl::Status ValidateOptions(const ServerOptions& options);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_OPTIONS_H_
