// Compares the results of two samplers.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_ROW_DIFFERENCE_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_ROW_DIFFERENCE_H_

#include <string>

#include "sampler/sampler.h"

namespace token_sampler::testing {

// Returns the name of the first output in which the results differ, to the last bit; "" if they are
// the same.
std::string RowDifference(const RowResult& actual, const RowResult& expected);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_ROW_DIFFERENCE_H_
