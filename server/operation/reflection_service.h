// gRPC's reflection protocol (v1alpha). Needs no thread per stream, and bounds the open streams.

#ifndef TOKEN_SAMPLER_SERVER_OPERATION_REFLECTION_SERVICE_H_
#define TOKEN_SAMPLER_SERVER_OPERATION_REFLECTION_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/batching/batcher.h"
#include "server/calls/open_calls.h"

namespace token_sampler {

// Thread-safe.
class ReflectionService final
    : public grpc::reflection::v1alpha::ServerReflection::CallbackService {
 public:
  // Describes `services`, by their full names; their descriptors must be linked into this program.
  // At most `max_streams` streams are open at a time. `batcher` and `calls` must outlive the
  // service. Queues nothing in the batcher.
  ReflectionService(Batcher& batcher, OpenCalls& calls, std::vector<std::string> services,
                    int64_t max_streams);

  grpc::ServerBidiReactor<grpc::reflection::v1alpha::ServerReflectionRequest,
                          grpc::reflection::v1alpha::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  Batcher& batcher_;
  OpenCalls& calls_;
  const std::vector<std::string> services_;
  const int64_t max_streams_;
  std::atomic<int64_t> streams_{0};
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_OPERATION_REFLECTION_SERVICE_H_
