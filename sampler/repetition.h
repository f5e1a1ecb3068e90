// Repetitions inside a history: n-grams that would be completed again, and DRY.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "sampler/large_memory.h"
#include "sampler/paced.h"
#include "sampler/sampling_params.h"
#include "sampler/token_set.h"

namespace token_sampler {

// What DRY takes from a token's logit.
struct DryPenalty {
  uint32_t id;
  float value;  // >= 0
};

// Finds them in time linear in the history's length, which is below 2^32. Reuses its memory: what
// it returns holds until the next call. Throws Interrupted where there is a pace.
class RepetitionFinder {
 public:
  // Calls visit(next_id, length) for each earlier place of the history that its end repeats, the
  // latest first: `length` >= 1 of the last tokens stand there as at the end, before `next_id`.
  template <class Visit>
  void VisitTails(absl::Span<const uint32_t> history, Pace* pace, const Visit& visit);

  // The tokens below `vocab` that would continue a repetition of at least dry.allowed_length
  // tokens, each once: SPEC.md §8.
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, absl::Span<const uint32_t> history,
                                                int64_t vocab, Pace* pace);

 private:
  LargeVector<uint32_t> lengths_;
  TokenSet repeated_;
  LargeVector<uint32_t> longest_;  // per token; those of repeated_ mean something
  std::vector<DryPenalty> penalties_;
};

template <class Visit>
void RepetitionFinder::VisitTails(absl::Span<const uint32_t> history, Pace* pace,
                                  const Visit& visit) {
  // The Z algorithm on the reversed history: length[i] is how far the part that starts at i agrees
  // with the whole.
  const size_t size = history.size();
  if (size < 2) return;
  const uint32_t* const newest = &history[size - 1];
  const auto at = [newest](size_t i) { return *(newest - i); };
  ResizePaced(pace, size, lengths_);
  uint32_t* const length = lengths_.data();
  size_t left = 0;
  size_t right = 0;  // [left, right) agrees with the beginning, right the largest so far
  for (size_t i = 1; i < size; ++i) {
    if (i % kPieceItems == 0) Ask(pace);
    size_t agrees = i < right ? std::min<size_t>(right - i, length[i - left]) : 0;
    if (i + agrees >= right) {
      while (i + agrees < size && at(agrees) == at(i + agrees)) {
        if (++agrees % kPieceItems == 0) Ask(pace);
      }
      left = i;
      right = i + agrees;
    }
    length[i] = static_cast<uint32_t>(agrees);
    if (agrees > 0) visit(at(i - 1), agrees);
  }
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_H_
