// Makes the rows with which benchmarks measure.

#ifndef TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_
#define TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace token_sampler::bench {

// Return names for MakeBenchRow: shapes like those of models, and shapes that make samplers slow.
std::vector<std::string> UsualShapes();        // "normal 1", "normal 3", "normal 5", "peaked", ...
std::vector<std::string> AdversarialShapes();  // "ascending", "all equal", ...

// Makes a row of `vocab` logits, a different one for each `variant`. Aborts on an unknown shape.
std::vector<float> MakeBenchRow(const std::string& shape, int64_t vocab, uint64_t variant);

}  // namespace token_sampler::bench

#endif  // TOKEN_SAMPLER_TESTS_BENCH_BENCH_ROWS_H_
