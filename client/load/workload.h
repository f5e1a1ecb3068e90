// The requests of a load test: generated logits, encoded once and sent many times.

#ifndef TOKEN_SAMPLER_CLIENT_LOAD_WORKLOAD_H_
#define TOKEN_SAMPLER_CLIENT_LOAD_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler::client {

struct WorkloadOptions {
  int64_t rows = 1;
  int64_t vocab = 32'000;
  DataType dtype = DataType::kFloat32;
  SamplingParams params;
  std::optional<History> history = {};  // of every row; none: not sent
  bool skip_unknown_ids = false;        // of the history
  OutputOptions outputs;
  uint64_t seed = 0;               // of the logits, and of the rows' generators
  SharedRegion* region = nullptr;  // for the logits, of Workload::ByteSize; null: inline
};

// Thread-safe once made.
class Workload {
 public:
  // Distinct requests, so that a server does not see the same values call after call.
  static constexpr size_t kRequests = 4;

  // Bytes of the logits of all requests. InvalidArgument when one request is larger than gRPC can
  // send.
  static absl::StatusOr<size_t> ByteSize(const WorkloadOptions& options);

  // InvalidArgument when a request would be larger than gRPC can send.
  static absl::StatusOr<Workload> Create(const WorkloadOptions& options);

  // The request of call number `call`.
  const EncodedRequest& Request(uint64_t call) const { return requests_[call % kRequests]; }

 private:
  std::vector<EncodedRequest> requests_;
};

// `count` near-normal logits in [-8, 8], in sixteenths, which every element type holds exactly.
std::vector<uint8_t> GenerateLogits(DataType dtype, int64_t count, uint64_t seed);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_LOAD_WORKLOAD_H_
