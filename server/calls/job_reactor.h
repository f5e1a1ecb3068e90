// The gRPC reactor of a unary call that a job of the batcher answers.

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

// Deletes itself when the call is over. Until then gRPC owns request, response and context, so a
// job may point into them until it calls Complete.
class JobReactor final : public grpc::ServerUnaryReactor {
 public:
  // All arguments must outlive the call.
  JobReactor(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context)
      : batcher_(batcher), calls_(calls), context_(context), caller_(*context) {}

  // Valid until Submit.
  const CallIdentity& identity() const { return caller_.identity; }

  // Returns InvalidArgument for invalid metadata of the call, and ResourceExhausted if the batcher
  // would accept no job of this caller. On an error, pass it to Complete without reading the
  // request.
  absl::Status CheckCaller() {
    return caller_.status.ok() ? batcher_.CheckRoom(identity(), retry_after_) : caller_.status;
  }

  // Queues the job until the earlier of its own and the call's deadline; refuses it if the server
  // accepts no more calls. The job's Done is called in either case and must call Complete. Call
  // Submit at most once, before the call's handler returns.
  void Submit(std::shared_ptr<SamplingJob> job);

  // Ends the call. Do not touch the call's objects afterwards.
  void Complete(const absl::Status& status);

  // gRPC calls OnCancel after the handler has returned, and OnDone after OnCancel has.
  void OnCancel() override;
  void OnDone() override;

  // Tells gRPC that OnDone is short, so that it calls it on the thread where the call ends instead
  // of waking another.
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
