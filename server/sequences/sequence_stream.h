// The SampleStream call: sequences that live in the server as long as their stream.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_STREAM_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_STREAM_H_

#include "absl/status/status.h"
#include "server/calls/job_stream.h"
#include "server/calls/received_message.h"
#include "server/codec/request_codec.h"
#include "server/sequences/change_job.h"
#include "server/sequences/sequence_table.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Takes requests as bytes: see sliced_request.h.
class SequenceStream final : public JobStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // All arguments that are passed by reference, except `server_context` itself, must outlive the
  // call.
  SequenceStream(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context,
                 const ServerContext& server_context, const SequenceLimits& limits)
      : JobStream(batcher, calls, context),
        call_context_(server_context.ForCaller(identity())),
        table_(call_context_, limits, call_context_.ledger),
        received_(call_context_),
        answer_memory_(call_context_.ledger, Account::kAnswers) {}

 protected:
  void OnRequest(grpc::ByteBuffer& message) override;
  void OnAnswered() override { answer_memory_.ShrinkTo(0); }

 private:
  absl::Status Open(const v1::OpenSequences& message, Pace* pace);
  // Makes the change, here or, if it takes long, in turns on another thread, and then answers.
  void Change(uint64_t nanoseconds, ChangeJob::Change change);
  void Step(const v1::StepSequences& message);
  void Answer(const absl::Status& status);

  const CallContext call_context_;
  SequenceTable table_;
  ReceivedMessage<v1::SampleStreamRequest> received_;
  v1::SampleStreamResponse answer_;
  MemoryGrant answer_memory_;  // held for the answer until it has been sent
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_SEQUENCE_STREAM_H_
