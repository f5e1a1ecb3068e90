// The rows that are measured.

#ifndef TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_
#define TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace token_sampler::bench {

// Names for MakeBenchRow. The first are what models give, the others what makes samplers slow.
std::vector<std::string> UsualShapes();        // "normal 1", "normal 3", "normal 5", "peaked", ...
std::vector<std::string> AdversarialShapes();  // "ascending", "all equal", ...

// A row of `vocab` logits; another for each `variant`. Aborts on an unknown shape.
std::vector<float> MakeBenchRow(const std::string& shape, int64_t vocab, uint64_t variant);

}  // namespace token_sampler::bench

#endif  // TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_
