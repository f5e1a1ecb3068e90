// Whether a sampler gives what the reference sampler gives, to the last bit of every output.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_

#include "sampler/sampler.h"
#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Fails the current test at the first row of the batch in which the two differ. Every second row is
// given to the sampler as one that it reads from a RowSource.
void ExpectSameAsReference(const RandomBatch& batch, Sampler& sampler);

// How many times the usual number of random cases to run: TOKEN_SAMPLER_CONFORMANCE_SCALE, or 1.
int ConformanceScale();

// `usual` times that, a third of them under sanitizers.
int RandomCases(int usual);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_CONFORMANCE_H_
