// gRPC's health protocol (grpc.health.v1). Needs no thread per call, and bounds the open calls.

#ifndef TOKEN_SAMPLER_SERVER_OPERATION_HEALTH_SERVICE_H_
#define TOKEN_SAMPLER_SERVER_OPERATION_HEALTH_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/batching/mutex.h"
#include "server/calls/open_calls.h"

namespace token_sampler {

class HealthWatch;

// Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // Knows the server as a whole and `services`, all NOT_SERVING at first. At most `max_watches`
  // Watch calls are open at a time. `calls` ends them, and must outlive this.
  HealthService(OpenCalls& calls, std::vector<std::string> services, uint64_t max_watches);

  // Sets the status of all services, and sends it to all watches.
  void SetServing(bool serving);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  friend class HealthWatch;

  // The status of a service; SERVICE_UNKNOWN when the server does not have it.
  Status Get(const std::string& service) const;
  void Forget(const HealthWatch& watch);

  OpenCalls& calls_;
  const std::vector<std::string> services_;
  const uint64_t max_watches_;

  mutable Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_OPERATION_HEALTH_SERVICE_H_
