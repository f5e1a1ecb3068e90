// Translates inputs of an inference request to fields of the native request.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_INPUTS_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_INPUTS_H_

#include <vector>

#include "absl/status/status.h"
#include "server/codec/row_codec.h"
#include "server/kserve/translation/infer_tensor.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Translates `logits` or `weights` to the native tensor. Checks the number of rows, because other
// inputs make messages for each row. InvalidArgument when there is none of the two or both, or when
// its datatype or shape is wrong.
absl::Status TranslateMatrix(const CallContext& context, std::vector<InferTensor>& tensors,
                             v1::SampleRequest& request);

// Translates one other input. `request` must have its tensor and, for an input that is a sampling
// parameter, a profile per row.
absl::Status TranslateInput(InferTensor& tensor, v1::SampleRequest& request);

// An upper bound of the bytes that TranslateInput(), and the codec after it, make of the input.
uint64_t TranslatedBytes(const InferTensor& tensor);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_INFER_INPUTS_H_
