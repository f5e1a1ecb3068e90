// Inputs of an inference request as fields of the native one.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFER_INPUTS_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFER_INPUTS_H_

#include <vector>

#include "absl/status/status.h"
#include "server/kserve/infer_tensor.h"
#include "server/row_fields.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// `logits` or `weights` as the native tensor. Rows are bounded here, because other inputs make
// messages of their own for each.
absl::Status TranslateMatrix(const RequestLimits& limits, std::vector<InferTensor>& tensors,
                             v1::SampleRequest& request);

// One input besides that. The request has its tensor and, for an input that is a parameter of
// sampling, a profile per row.
absl::Status TranslateInput(InferTensor& tensor, v1::SampleRequest& request);

// The most bytes that TranslateInput, and the codec after it, make of the input.
uint64_t TranslatedBytes(const InferTensor& tensor);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFER_INPUTS_H_
