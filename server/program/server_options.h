// The options of the server, with their defaults and the accepted values.

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
  std::string address_file;  // a file to which the bound addresses are written, one per line, once
                             // serving
  std::string socket_mode;   // of Unix sockets, in octal; empty: that of the umask
  std::string socket_group;  // of Unix sockets; empty: the group of the process
  // The most connections at a time, of all peers and of one: an IPv4 address, an IPv6 /64, a user
  // of a Unix socket. Fewer if the limit of descriptors is lower.
  uint64_t max_connections = 8192;
  uint64_t max_connections_per_peer = 4096;
  // The most new connections of one peer per second. After a pause a peer may make
  // max_connections_per_peer at once, so that all clients of a restarted proxy can connect.
  uint64_t max_connection_rate = 100;
  // Closes a connection if its peer lets a message, headers or an answer stand still for this long:
  // if it sends, or takes, less than 16 KiB of it.
  std::chrono::milliseconds stall_timeout{60'000};
  std::string device = "auto";  // auto, cpu or cuda
  int threads = 0;              // of the CPU sampler; 0: one per CPU of this process
  uint64_t max_message_bytes = uint64_t{256} << 20;  // of one request; at most 2^31 - 1
  uint64_t memory_budget = 0;  // for what callers make the server hold; 0: DefaultMemoryBudget
  // The limit of a call's headers. In gRPC 1.51 larger headers break other calls of their
  // connection, so this is more than proxies let through.
  uint64_t max_metadata_bytes = uint64_t{256} << 10;
  // The most bytes received of incomplete messages. Beyond it, connections that have more than
  // others are closed; a message of up to this size can be received if no other is incomplete. Less
  // on small machines: BoundsOfTransport.
  uint64_t max_incomplete_bytes = uint64_t{512} << 20;
  RequestLimits request;  // except max_parsed_bytes, which the server sets
  RegionOptions regions;
  SequenceLimits sequences;
  BatcherOptions batcher = {.num_executors = 0};    // except client_weights, which the server makes
                                                    // of those below
  std::vector<std::string> client_weights;          // "NAME=WEIGHT" with names for ParseClientName
  std::chrono::milliseconds drain_delay{0};         // time as NOT_SERVING in which calls are still
                                                    // accepted
  std::chrono::milliseconds drain_timeout{10'000};  // then, time for calls in flight to finish
  std::string log_level = "info";                   // debug, info, warn or error
  std::string log_format = "text";                  // text or json
};

// A flag that takes a whole number, and its range.
struct NumberFlag {
  absl::string_view name;  // with the dashes
  uint64_t low;
  uint64_t high;
  uint64_t (*value)(const ServerOptions& options);
};

absl::Span<const NumberFlag> NumberFlags();

// Parses ServerOptions::client_weights. Weights must be in [0.001, 1000]. InvalidArgument names the
// flag, the entry and what is accepted.
absl::StatusOr<ClientWeights> ParseClientWeights(const std::vector<std::string>& weights);

// Checks all options. InvalidArgument names the flag, its value and what is accepted.
absl::Status ValidateOptions(const ServerOptions& options);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_OPTIONS_H_
