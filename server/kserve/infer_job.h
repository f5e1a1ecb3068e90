// One inference request on its way through the batcher.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/batching/batcher.h"
#include "server/codec/request_codec.h"
#include "server/kserve/inference_statistics.h"
#include "server/kserve/translation/infer_request.h"

namespace token_sampler {

class InferJob final : public SamplingJob {
 public:
  using Finish = std::function<void(const absl::Status&)>;

  // Done() calls `finish` once, with the response filled, or with an error and the response empty.
  // `response` and `statistics` must live until then.
  InferJob(inference::ModelInferResponse& response, InferenceStatistics& statistics, Finish finish);

  // Moves the tensors out of the request. On an error, call Done() with it. Otherwise answer() then
  // bounds what the response takes.
  absl::Status Decode(inference::ModelInferRequest& request, const CallContext& context);

  void Done(const absl::Status& status_of_sampling) override;

  const AnswerSize& answer() const { return answer_; }

 private:
  // Checks that the outputs fit an answer: all rows of an output have as many columns as the
  // longest. Sets draws_ and answer_.
  absl::Status CheckWidths(const CallContext& context);

  inference::ModelInferResponse& response_;
  InferenceStatistics& statistics_;
  const Finish finish_;
  InferenceTimes times_;
  InferCall call_;
  uint32_t draws_ = 1;  // num_samples of the row that has most
  DecodedSample decoded_;
  AnswerSize answer_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_
