// Decodes SamplingParams.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_PARAMS_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_PARAMS_CODEC_H_

#include "absl/status/status.h"
#include "sampler/params/sampling_params.h"
#include "token_sampler/v1/sampling_params.pb.h"

namespace token_sampler {

// `params` must have its defaults; `index` is the index of the profile, for error messages.
// InvalidArgument if the message is incomplete or contradicts itself. ValidateParams checks ranges.
absl::Status DecodeParams(const v1::SamplingParams& message, int index, SamplingParams& params);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_PARAMS_CODEC_H_
