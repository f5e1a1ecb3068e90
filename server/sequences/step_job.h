// One step of some sequences of a stream, on its way through the batcher.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/batcher.h"
#include "server/request_codec.h"
#include "server/sequences/sequence_table.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

class StepJob final : public SamplingJob {
 public:
  using Finish = std::function<void(const absl::Status&)>;

  // `finish` is called once by Done. What is referred to must live until then, and the sequences
  // must not change.
  StepJob(v1::SampleStreamResponse& response, Finish finish)
      : response_(response), finish_(std::move(finish)) {}

  // Rows point into the message, into the values of its tensor, which are `data` unless that is
  // null, and into the sequences.
  // When this is not OK, call Done with it.
  absl::Status Decode(const v1::StepSequences& message, const SlicedBytes* data,
                      const RequestLimits& limits, const SequenceTable& table);

  // The answer's size, by the rows that were decoded.
  const AnswerSize& answer() const { return decoded_.answer; }

  // The sequences whose rows have tokens go on by them; others stay as they are.
  void Done(const absl::Status& sampled) override;

 private:
  absl::Status FindSequences(const v1::StepSequences& message, const SequenceTable& table);

  v1::SampleStreamResponse& response_;
  const Finish finish_;
  std::vector<uint64_t> ids_;         // [rows]
  std::vector<Sequence*> sequences_;  // [rows]
  std::vector<size_t> sampled_rows_;  // of SamplingJob::rows, in the message
  DecodedSample decoded_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_STEP_JOB_H_
