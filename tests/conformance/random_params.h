// Makes random parameters, histories and outputs of a row, single ones and combinations.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_

#include <cstdint>

#include "tests/conformance/random.h"
#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Makes parameters with a temperature, the common filters and a number of draws.
SamplingParams MakeParams(InputKind kind, int64_t vocab, Random& random);

OutputOptions MakeOutputs(int64_t vocab, Random& random);

// Adds masks, bans, penalties, and a history in one of its forms. The row's key must be set: this
// may reduce its step.
void AddAdjustments(InputKind kind, int64_t vocab, Random& random, RandomRow& row);

// Adds the less common filters and stages with a state, in the order of an engine or any other.
void AddRareStages(InputKind kind, int64_t vocab, Random& random, RandomRow& row);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_RANDOM_PARAMS_H_
