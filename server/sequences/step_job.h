// One step of some sequences of a stream, on its way through the batcher.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/batcher.h"
#include "server/codec/request_codec.h"
#include "server/sequences/sequence_table.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

class StepJob final : public SamplingJob {
 public:
  using Finish = std::function<void(const absl::Status&)>;

  // Done() calls `finish` once. Until then `response` must live, and the sequences must not change.
  StepJob(v1::SampleStreamResponse& response, Finish finish)
      : response_(response), finish_(std::move(finish)) {}

  // Rows point into the message, the sequences and the values of the tensor, which are `data`
  // unless it is null: all must live until Done(). On an error, call Done() with it.
  absl::Status Decode(const v1::StepSequences& message, const SlicedBytes* data,
                      const CallContext& context, const SequenceTable& table);

  // The size of the answer to the decoded rows.
  const AnswerSize& answer() const { return decoded_.answer; }

  // Encodes the answer and calls `finish`. Appends the drawn tokens to the sequences; a sequence
  // whose row failed stays as it is.
  void Done(const absl::Status& sampled) override;

 private:
  absl::Status FindSequences(const v1::StepSequences& message, const SequenceTable& table);

  v1::SampleStreamResponse& response_;
  const Finish finish_;
  std::vector<uint64_t> ids_;         // [rows]
  std::vector<Sequence*> sequences_;  // [rows]
  DecodedSample decoded_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_
