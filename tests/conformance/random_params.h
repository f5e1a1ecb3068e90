// Random parameters, histories and outputs of a row, alone and combined.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_

#include <cstdint>

#include "tests/conformance/random.h"
#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Temperature, the common filters, the number of draws.
SamplingParams MakeParams(InputKind kind, int64_t vocab, Random& random);

OutputOptions MakeOutputs(int64_t vocab, Random& random);

// Masks, bans, penalties, and a history in one of its forms. The row's key must be set: its step
// may become small.
void AddAdjustments(InputKind kind, int64_t vocab, Random& random, RandomRow& row);

// The rarer filters and stages with a state, in the order of an engine or any other.
void AddRareStages(InputKind kind, int64_t vocab, Random& random, RandomRow& row);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_
