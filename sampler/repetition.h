// Repetitions inside a history: n-grams that would be completed again, and DRY.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "sampler/sampling_params.h"

namespace token_sampler {

// Earlier places of a history that its end repeats.
struct RepeatedTail {
  uint32_t next_id;  // the token that followed there
  uint64_t length;   // how many of the history's last tokens stand before it there, as at the end
};

// What DRY takes from a token's logit.
struct DryPenalty {
  uint32_t id;
  float value;  // >= 0
};

// Finds them in time linear in the history's length. Reuses its memory: what it returns holds until
// the next call.
class RepetitionFinder {
 public:
  // All with a length of 1 or more, the latest place first.
  absl::Span<const RepeatedTail> FindTails(absl::Span<const uint32_t> history);

  // The tokens that would continue a repetition of at least dry.allowed_length tokens, each once,
  // in ascending order: SPEC.md §8.
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, absl::Span<const uint32_t> history);

 private:
  std::vector<size_t> lengths_;
  std::vector<RepeatedTail> tails_;
  std::vector<DryPenalty> penalties_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_H_
