#include "server/server_options.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "sampler/cpu_sampler.h"

namespace token_sampler {
namespace {

template <size_t N>
absl::Status CheckChoice(absl::string_view flag, const std::string& value,
                         const std::array<absl::string_view, N>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " must be one of ", absl::StrJoin(choices, ", "), ", got ", value));
}

absl::Status CheckRange(absl::string_view flag, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " must be in [", low, ", ", high, "], got ", value));
}

absl::Status CheckAddress(const std::string& address) {
  const bool unix_path = absl::StartsWith(address, "unix:") && address.size() > 5;
  const size_t colon = address.rfind(':');
  const bool host_port = colon != std::string::npos && colon > 0 && colon + 1 < address.size();
  if (unix_path || host_port) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--listen must be host:port or unix:/path, got \"", address, "\""));
}

}  // namespace

absl::Status ValidateOptions(const ServerOptions& options) {
  if (options.listen.empty()) {
    return absl::InvalidArgumentError("--listen must name at least one address");
  }
  for (const std::string& address : options.listen) {
    if (absl::Status status = CheckAddress(address); !status.ok()) return status;
  }
  constexpr uint64_t kMaxUint32 = std::numeric_limits<uint32_t>::max();
  constexpr uint64_t kMaxUint64 = std::numeric_limits<uint64_t>::max();
  constexpr uint64_t kMaxMetadataBytes = uint64_t{16} << 20;  // gRPC's own limit
  const BatcherOptions& batcher = options.batcher;
  for (absl::Status status : {
           CheckChoice<3>("--device", options.device, {"auto", "cpu", "cuda"}),
           CheckChoice<4>("--log-level", options.log_level, {"debug", "info", "warn", "error"}),
           CheckChoice<2>("--log-format", options.log_format, {"text", "json"}),
           CheckRange("--threads", static_cast<uint64_t>(options.threads), 0, kMaxCpuThreads),
           CheckRange("--max-message-bytes", options.max_message_bytes, 1024,
                      std::numeric_limits<int32_t>::max()),
           CheckRange("--max-metadata-bytes", options.max_metadata_bytes, 8192, kMaxMetadataBytes),
           CheckChoice<4>("--shared-memory", options.regions.kinds,
                          {"off", "system", "cuda", "all"}),
           CheckChoice<2>("--shared-memory-peers", options.regions.peers, {"local", "any"}),
           CheckRange("--max-regions", options.regions.max_regions, 1, kMaxUint32),
           CheckRange("--max-regions-per-peer", options.regions.max_regions_per_peer, 1,
                      kMaxUint32),
           CheckRange("--max-rows", options.request.max_rows, 1, kMaxUint32),
           CheckRange("--max-vocab", options.request.max_vocab, 1, kMaxVocab),
           CheckRange("--executors", static_cast<uint64_t>(batcher.num_executors), 0, 256),
           CheckRange("--max-batch-rows", batcher.max_batch_rows, 1, kMaxUint32),
           CheckRange("--max-queued-rows", batcher.max_queued_rows, 1, kMaxUint64),
           CheckRange("--max-queued-bytes", batcher.max_queued_bytes, 1, kMaxUint64),
           CheckRange("--max-sequence-tokens", options.sequences.max_tokens, 1, kMaxUint32),
           CheckRange("--max-sequence-bytes", options.sequences.max_bytes, 1, kMaxUint64),
       }) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
