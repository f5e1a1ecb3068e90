#include "server/operation/health_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/calls/status_mapping.h"

namespace token_sampler {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch call. The service owns it until OnDone().
class HealthWatch final : public grpc::ServerWriteReactor<HealthCheckResponse>, public OpenStream {
 public:
  HealthWatch(HealthService& service, std::string name)
      : service_(service), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  void set_entered() { entered_ = true; }

  // Sends the status unless the client knows it or a write is under way.
  void Tell() {
    const HealthService::Status status = service_.Get(name_);
    MutexLock lock(mutex_);
    if (finished_ || writing_ || (told_ && response_.status() == status)) return;
    response_.set_status(status);
    told_ = writing_ = true;
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      writing_ = false;
      if (!ok) FinishOnce({grpc::StatusCode::CANCELLED, "the caller has gone"});
    }
    // The status may have changed meanwhile.
    if (ok) Tell();
  }

  void End() override {
    MutexLock lock(mutex_);
    FinishOnce(ToGrpcStatus(OpenCalls::Refusal()));
  }

  void OnCancel() override {
    MutexLock lock(mutex_);
    FinishOnce({grpc::StatusCode::CANCELLED, "the caller has gone"});
  }

  void OnDone() override {
    OpenCalls& calls = service_.calls_;
    const bool entered = entered_;
    service_.Forget(*this);  // deletes this
    if (entered) calls.Leave();
  }

 private:
  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(finished_, true)) Finish(status);
  }

  HealthService& service_;
  const std::string name_;
  bool entered_ = false;
  Mutex mutex_;
  HealthCheckResponse response_ ABSL_GUARDED_BY(mutex_);  // what is being written, or was last
  bool told_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

namespace {

// A call that is refused at once.
class RefusedWatch final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

HealthService::HealthService(OpenCalls& calls, std::vector<std::string> services,
                             uint64_t max_watches)
    : calls_(calls), services_(std::move(services)), max_watches_(max_watches) {}

void HealthService::SetServing(bool serving) {
  std::vector<std::shared_ptr<HealthWatch>> watches;
  {
    MutexLock lock(mutex_);
    if (std::exchange(serving_, serving) == serving) return;
    watches = watches_;
  }
  for (const auto& watch : watches) watch->Tell();
}

HealthService::Status HealthService::Get(const std::string& service) const {
  const bool known =
      service.empty() || std::find(services_.begin(), services_.end(), service) != services_.end();
  if (!known) return HealthCheckResponse::SERVICE_UNKNOWN;
  MutexLock lock(mutex_);
  return serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  const Status status = Get(request->service());
  response->set_status(status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status == HealthCheckResponse::SERVICE_UNKNOWN
                      ? grpc::Status(grpc::StatusCode::NOT_FOUND, "service name unknown")
                      : grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto watch = std::make_shared<HealthWatch>(*this, request->service());
  {
    MutexLock lock(mutex_);
    if (watches_.size() >= max_watches_) {
      return new RefusedWatch(absl::ResourceExhaustedError(
          absl::StrCat("at most ", max_watches_, " calls may watch the health at once")));
    }
    watches_.push_back(watch);
  }
  if (calls_.Enter(watch)) {
    watch->set_entered();
    watch->Tell();
  } else {
    watch->End();
  }
  return watch.get();
}

void HealthService::Forget(const HealthWatch& watch) {
  std::shared_ptr<HealthWatch> forgotten;
  MutexLock lock(mutex_);
  const auto found = std::find_if(watches_.begin(), watches_.end(),
                                  [&](const auto& known) { return known.get() == &watch; });
  if (found == watches_.end()) return;
  // It is deleted after the lock is released.
  forgotten = std::exchange(*found, std::move(watches_.back()));
  watches_.pop_back();
}

}  // namespace token_sampler
