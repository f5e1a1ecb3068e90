#include "server/program/transport_options.h"

#include <grpcpp/resource_quota.h>

#include <cstddef>

namespace token_sampler {
namespace {

// The most calls and streams of one connection. A client waits before it opens more.
constexpr int kMaxStreamsPerConnection = 256;

// The time within which a connection must send HTTP/2's first frames. Clients send them at once.
constexpr int kHandshakeMs = 10'000;

// After kKeepaliveMs of silence a peer is asked if it is there; it must answer within
// kKeepaliveTimeoutMs. Otherwise its connection ends and frees its memory: its machine or the
// network is gone.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

// The least time between pings of a client. gRPC's default, five minutes, ends connections of
// clients with a shorter keepalive time.
constexpr int kMinPingIntervalMs = 10'000;

}  // namespace

void BoundTransport(const ServerOptions& options, uint64_t quota_bytes,
                    grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(options.max_metadata_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  // 38 KB of gzip may become 38 MB of messages, which take gigabytes to parse.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // Disable steps of each call that have no use here: no answer is compressed, and nobody asks
  // channelz.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  grpc::ResourceQuota quota("transport");
  quota.Resize(static_cast<size_t>(quota_bytes));
  builder.SetResourceQuota(quota);
}

}  // namespace token_sampler
