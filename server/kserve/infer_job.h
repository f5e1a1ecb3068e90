// One inference request on its way through the batcher.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/batching/batcher.h"
#include "server/kserve/infer_request.h"
#include "server/kserve/inference_statistics.h"
#include "server/request_codec.h"

namespace token_sampler {

class InferJob final : public SamplingJob {
 public:
  using Finish = std::function<void(const absl::Status&)>;

  // `finish` is called once, when the response is written or there is an error, with which the
  // response is empty. What is referred to must live until then.
  InferJob(inference::ModelInferResponse& response, InferenceStatistics& statistics, Finish finish);

  // Takes the tensors out of the request. When this is not OK, call Done with it. Then `answer` is
  // what the response will take.
  absl::Status Decode(inference::ModelInferRequest& request, const RequestLimits& limits);

  void Done(const absl::Status& status_of_sampling) override;

  const AnswerSize& answer() const { return answer_; }

 private:
  // All rows of an output have the columns of the longest: they must fit an answer.
  absl::Status CheckWidths(const RequestLimits& limits);

  inference::ModelInferResponse& response_;
  InferenceStatistics& statistics_;
  const Finish finish_;
  InferenceTimes times_;
  InferCall call_;
  uint32_t draws_ = 1;  // of the row that has most
  DecodedSample decoded_;
  AnswerSize answer_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFER_JOB_H_
