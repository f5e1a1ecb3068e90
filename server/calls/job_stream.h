// The gRPC reactor of a stream whose requests are answered one after the other, each by a job of
// the batcher or at once.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_JOB_STREAM_H_
#define TOKEN_SAMPLER_SERVER_CALLS_JOB_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/batcher.h"
#include "server/batching/mutex.h"
#include "server/calls/call_identity.h"
#include "server/calls/open_calls.h"
#include "server/calls/status_mapping.h"

namespace token_sampler {

// Owns itself from Begin until the call is over. Handles one request at a time, so answers come in
// the order of requests, and flow control holds back a client that sends ahead.
template <typename Request, typename Response>
class JobStream : public grpc::ServerBidiReactor<Request, Response>, public OpenStream {
 public:
  // All arguments must outlive the call.
  JobStream(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context)
      : batcher_(batcher), calls_(calls), context_(context), caller_(*context) {}

  // Starts the stream; call it once.
  static JobStream* Begin(std::shared_ptr<JobStream> stream) {
    JobStream* reactor = stream.get();
    reactor->entered_ = reactor->calls_.Enter(stream);
    reactor->self_ = std::move(stream);
    MutexLock lock(reactor->mutex_);
    reactor->ending_ = !reactor->entered_;
    if (reactor->caller_.status.ok()) {
      // Shows that the caller may take its time with the first request (frame_guard.h).
      if (!reactor->ending_) reactor->StartSendInitialMetadata();
      reactor->ReadOrFinish();
    } else {
      reactor->FinishOnce(ToGrpcStatus(reactor->caller_.status));
    }
    return reactor;
  }

  void End() override {
    MutexLock lock(mutex_);
    ending_ = true;
    if (!answering_) FinishOnce(ToGrpcStatus(OpenCalls::Refusal()));
  }

  void OnReadDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      if (!ok || ending_) {
        FinishOnce(ending_ ? ToGrpcStatus(OpenCalls::Refusal()) : grpc::Status::OK);
        return;
      }
      answering_ = true;
    }
    OnRequest(request_);
  }

  void OnWriteDone(bool ok) override {
    OnAnswered();
    MutexLock lock(mutex_);
    answering_ = false;
    if (ok) {
      ReadOrFinish();
    } else {
      FinishOnce({grpc::StatusCode::CANCELLED, "the caller has gone"});
    }
  }

  void OnCancel() override {
    std::shared_ptr<SamplingJob> job;
    {
      MutexLock lock(mutex_);
      job = job_;
    }
    if (job != nullptr) batcher_.Cancel(*job);
  }

  // gRPC's last call for this stream.
  void OnDone() override {
    const std::shared_ptr<JobStream> self = std::move(self_);
    if (entered_) calls_.Leave();
  }

 protected:
  const CallIdentity& identity() const { return caller_.identity; }

  // Handles a request. Must lead to one call of Send, on any thread: directly, or by the Done of a
  // submitted job. The request is valid until then.
  virtual void OnRequest(Request& request) = 0;

  // Called after the answer was written, or could not be.
  virtual void OnAnswered() {}

  // Queues a job until the earlier of its own and the stream's deadline. Its Done is called in any
  // case.
  void Submit(const std::shared_ptr<SamplingJob>& job) {
    job->deadline = std::min<TimePoint>(job->deadline, context_->deadline());
    const uint32_t priority = job->identity.priority;
    job->identity = identity();
    job->identity.priority = std::max(priority, job->identity.priority);
    {
      MutexLock lock(mutex_);
      job_ = job;
    }
    const absl::Status status = batcher_.Submit(job);
    if (!status.ok()) job->Done(status);
  }

  // Sends the response. Destroys the job that made it, because the next request may take long to
  // come.
  void Send() {
    std::shared_ptr<SamplingJob> answered;
    {
      MutexLock lock(mutex_);
      answered = std::move(job_);
    }
    answered.reset();
    request_.Clear();  // the caller may also take long to read
    this->StartWrite(&response_);
  }

  Response& response() { return response_; }

 private:
  // gRPC may be called under the lock: it runs reactions on other threads, never inside a call to
  // it.
  void ReadOrFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ending_) {
      FinishOnce(ToGrpcStatus(OpenCalls::Refusal()));
    } else {
      response_.Clear();
      this->StartRead(&request_);
    }
  }

  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(finished_, true)) this->Finish(status);
  }

  Batcher& batcher_;
  OpenCalls& calls_;
  grpc::CallbackServerContext* const context_;
  const Caller caller_;
  bool entered_ = false;
  Request request_;
  Response response_;
  std::shared_ptr<JobStream> self_;

  Mutex mutex_;
  std::shared_ptr<SamplingJob> job_ ABSL_GUARDED_BY(mutex_);  // of the request in hand
  bool answering_ ABSL_GUARDED_BY(mutex_) = false;            // between OnRequest and its answer
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_JOB_STREAM_H_
