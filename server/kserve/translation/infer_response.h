// Translates the native answer to an answer of the Open Inference Protocol.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_RESPONSE_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_RESPONSE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/kserve/translation/infer_request.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Writes the outputs that the call asks for. `draws` is the largest num_samples of the sampled
// rows. All contents are raw. A row that failed, or has fewer values than the output has columns,
// is padded with -1 for token ids, NaN for floating-point numbers and 0 for others. InvalidArgument
// when an output is larger than its place in shared memory; the errors of Region::Write().
absl::Status TranslateResponse(const InferCall& call, uint32_t draws,
                               const v1::SampleResponse& sampled,
                               inference::ModelInferResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_RESPONSE_H_
