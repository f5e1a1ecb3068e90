// A unary call that a job of the batcher answers.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_JOB_REACTOR_H_
#define TOKEN_SAMPLER_SERVER_CALLS_JOB_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "server/batching/batcher.h"
#include "server/calls/call_identity.h"
#include "server/calls/open_calls.h"

namespace token_sampler {

// Deletes itself when the call is over. gRPC owns request, response and context until then, so that
// a job may point into them until it calls Complete.
class JobReactor final : public grpc::ServerUnaryReactor {
 public:
  // What is referred to must outlive the call.
  JobReactor(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context)
      : batcher_(batcher), calls_(calls), context_(context), caller_(*context) {}

  // Until Submit.
  const CallIdentity& identity() const { return caller_.identity; }

  // InvalidArgument for metadata of the call; ResourceExhausted when no job of this caller would be
  // accepted. Then there is no need to read its request. For Complete.
  absl::Status CheckCaller() {
    return caller_.status.ok() ? batcher_.CheckRoom(identity(), retry_after_) : caller_.status;
  }

  // Queues the job until its own deadline or the call's, the earlier one, unless no call is
  // accepted any more. Its Done is called in any case and must call Complete. Call it at most once,
  // before the call's handler returns.
  void Submit(std::shared_ptr<SamplingJob> job);

  // Ends the call. Nothing of it may be touched afterwards.
  void Complete(const absl::Status& status);

  // gRPC calls this after the handler has returned, and OnDone after this has.
  void OnCancel() override;
  void OnDone() override;

  // Tells gRPC that OnDone is short: it calls it where the call ends, and wakes no thread for it.
  bool InternalInlineable() override { return true; }

 private:
  Batcher& batcher_;
  OpenCalls& calls_;
  grpc::CallbackServerContext* const context_;
  Caller caller_;
  std::chrono::milliseconds retry_after_{0};
  std::shared_ptr<SamplingJob> job_;
  bool entered_ = false;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_JOB_REACTOR_H_
