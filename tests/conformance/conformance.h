// Compares a sampler with the reference sampler, to the last bit of every output.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_

#include "sampler/sampler.h"
#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Fails the current test at the first row of the batch in which the two differ. The sampler reads
// every second row from a RowSource.
void ExpectSameAsReference(const RandomBatch& batch, Sampler& sampler);

// Returns the factor for the number of random cases: TOKEN_SAMPLER_CONFORMANCE_SCALE, or 1.
int ConformanceScale();

// Returns `usual` times that factor, or a third of it under sanitizers.
int RandomCases(int usual);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_
