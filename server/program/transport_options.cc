#include "server/program/transport_options.h"

#include <grpcpp/resource_quota.h>

#include <cstddef>

namespace token_sampler {
namespace {

// Calls and streams of one connection; a client holds back what it has beyond.
constexpr int kMaxStreamsPerConnection = 256;

// Until a connection has sent HTTP/2's first frames. A client does so at once.
constexpr int kHandshakeMs = 10'000;

// A peer that is silent for so long is asked whether it is there, and has the second time to say
// so. Thus its memory is freed when its machine or the network between has gone.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

// Clients may ask as often. gRPC's own default, five minutes, ends connections of clients whose
// keepalive is set to less.
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
  // 38 KB of gzip may be 38 MB of messages, which take gigabytes to parse.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // Steps of each call that do nothing here: no answer is compressed, nobody asks channelz.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  grpc::ResourceQuota quota("transport");
  quota.Resize(static_cast<size_t>(quota_bytes));
  builder.SetResourceQuota(quota);
}

}  // namespace token_sampler
