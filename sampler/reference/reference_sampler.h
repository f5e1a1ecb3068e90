// The specification in executable form: scalar, simple, one row after the other. Every other
// backend must give the same tokens. Use it to check them, not to serve.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_REFERENCE_SAMPLER_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_REFERENCE_SAMPLER_H_

#include <memory>

#include "sampler/sampler.h"

namespace token_sampler {

std::unique_ptr<Sampler> CreateReferenceSampler();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_REFERENCE_SAMPLER_H_
