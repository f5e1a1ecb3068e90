// An inference request of the Open Inference Protocol as a native one.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFER_REQUEST_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFER_REQUEST_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/kserve/caller_names.h"
#include "server/kserve/sampler_model.h"
#include "server/kserve/shared_place.h"
#include "server/memory/ledger.h"
#include "server/row_fields.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

struct InferOutput {
  const ModelOutputField* field = nullptr;
  std::optional<SharedPlace> place = {};           // where it is written, instead of the answer,
  std::shared_ptr<const Region> region = nullptr;  // and the region that has the place
};

struct InferCall {
  std::optional<MemoryGrant> memory = {};  // of what follows
  v1::SampleRequest request;
  std::string id;
  CallerNames names;
  std::vector<InferOutput> outputs;                  // at least one
  std::optional<std::chrono::microseconds> timeout;  // how long the call may wait
  uint32_t priority = 0;                             // as CallIdentity::priority
  uint64_t input_bytes = 0;                          // of the inputs but logits and weights
};

// Parameters of a request that are none of sampling. No input has such a name: it would mean
// something else as a parameter.
absl::Span<const absl::string_view> ReservedParameters();

// NotFound unless there is such a model: `sampler`, and no version or kModelVersion.
absl::Status CheckModel(absl::string_view name, absl::string_view version);

// Takes the tensors out of `request`, whose own memory has been granted. NotFound for another
// model; InvalidArgument names what is malformed, unknown or not supported, or takes more than a
// parsed request may; ResourceExhausted when there is no memory for it. Of the native request only
// the size of the tensor is checked.
absl::Status TranslateRequest(const RequestLimits& limits, inference::ModelInferRequest& request,
                              InferCall& call);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFER_REQUEST_H_
