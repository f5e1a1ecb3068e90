// Translates an inference request of the Open Inference Protocol to a native request.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_REQUEST_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_REQUEST_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/codec/row_codec.h"
#include "server/kserve/sampler_model.h"
#include "server/kserve/translation/caller_names.h"
#include "server/kserve/translation/shared_memory_params.h"
#include "server/memory/ledger.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

struct InferOutput {
  const ModelOutputField* field = nullptr;
  std::optional<SharedPlace> place = {};           // where it is written instead of the answer,
  std::shared_ptr<const Region> region = nullptr;  // and the region of that place
};

struct InferCall {
  std::optional<MemoryGrant> memory = {};  // for what follows
  v1::SampleRequest request;
  std::string id;
  CallerNames names;
  std::vector<InferOutput> outputs;                  // at least one
  std::optional<std::chrono::microseconds> timeout;  // longest wait of the call
  uint32_t priority = 0;                             // see CallIdentity::priority
  uint64_t input_bytes = 0;                          // of inputs other than logits and weights
};

// Names of request parameters that are not sampling parameters. No input has such a name, since the
// same name would mean something else as a parameter.
absl::Span<const absl::string_view> ReservedParameters();

// NotFound unless the name is `sampler` and the version is empty or kModelVersion.
absl::Status CheckModel(absl::string_view name, absl::string_view version);

// Moves the tensors out of `request`, whose own memory has been granted, and fills `call`. NotFound
// for another model; InvalidArgument names what is malformed, unknown, not supported or larger than
// a parsed request may be; ResourceExhausted when there is no memory for it. The codec still has to
// check the native request, of which only the size of the tensor has been checked.
absl::Status TranslateRequest(const CallContext& context, inference::ModelInferRequest& request,
                              InferCall& call);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_REQUEST_H_
