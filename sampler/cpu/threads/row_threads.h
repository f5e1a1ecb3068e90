// Decides how many threads share the rows of a batch.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_THREADS_ROW_THREADS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_THREADS_ROW_THREADS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Returns at most `threads`, and at most one per row. Few short rows are done before another thread
// is awake, and waking one takes time from the calling thread, so each further thread must have
// work for about 10 us.
inline size_t ThreadsForRows(absl::Span<const RowInput> rows, size_t threads) {
  constexpr int64_t kTokensPerThread = 16384;
  constexpr int64_t kTokensPerRow = 128;  // the overhead of a row, in tokens
  constexpr int64_t kTokensPerDraw = 16;
  int64_t tokens = 0;
  for (const RowInput& row : rows) {
    tokens += row.vocab + kTokensPerRow + kTokensPerDraw * row.params->num_samples;
  }
  const auto worth = static_cast<size_t>(1 + tokens / kTokensPerThread);
  return std::min({threads, rows.size(), worth});
}

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_ROW_THREADS_H_
