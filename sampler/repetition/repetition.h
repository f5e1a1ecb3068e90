// Repetitions inside a history: n-grams that would be completed again, and DRY.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "sampler/params/sampling_params.h"
#include "sampler/repetition/repetition_index.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/token_set.h"

namespace token_sampler {

// A history and an index of it.
struct IndexedHistory {
  HistoryIds ids;
  const RepetitionIndex& index;
};

// How many known tokens before `end` and before `other_end`, the later, are the same, as far as
// `begin`.
size_t CommonEnd(const IndexedHistory& history, size_t end, size_t other_end, size_t begin,
                 Pace* pace);

// What DRY takes from a token's logit.
struct DryPenalty {
  uint32_t id;
  float value;  // >= 0
};

// Finds them in time linear in the history's length, which is below 2^32; with an index in time
// linear in the number of places that the last few tokens repeat, and in the longest repetition.
// Reuses its memory: what it returns holds until the next call. Throws Interrupted where there is a
// pace.
class RepetitionFinder {
 public:
  // Calls visit(next_id, length) for each earlier place of the history that its end repeats, the
  // latest first: `length` >= 1 of the last tokens stand there as at the end, before `next_id`.
  template <class Visit>
  void VisitTails(absl::Span<const uint32_t> history, Pace* pace, const Visit& visit);

  // The same of the tokens from `begin` on, where the index's gram() tokens at least are repeated;
  // maybe of others too.
  template <class Visit>
  void VisitTails(const IndexedHistory& history, size_t begin, Pace* pace, const Visit& visit);

  // The tokens below `vocab` that would continue a repetition of at least dry.allowed_length
  // tokens, each once: SPEC.md §8.
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, absl::Span<const uint32_t> history,
                                                int64_t vocab, Pace* pace);
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, const IndexedHistory& history,
                                                int64_t vocab, Pace* pace);

 private:
  // A place at whose end so many of the last tokens are repeated; it is `back` tokens before the
  // history's.
  struct Tail {
    uint32_t back;
    uint32_t length;
  };

  // Calls visit_tails(visit), which visits those of the part that DRY looks at. No more than
  // `limit` tokens of a repetition count. is_breaker(id, i) tells of a token alone, the i-th that
  // it is asked about.
  template <class IsBreaker, class VisitDryTails>
  absl::Span<const DryPenalty> CollectDry(const Dry& dry, size_t limit, int64_t vocab, Pace* pace,
                                          const IsBreaker& is_breaker,
                                          const VisitDryTails& visit_tails);

  // Makes lengths_[i], i > 0, how many of the last tokens stand before the last i of the history
  // too.
  void FindLengths(absl::Span<const uint32_t> history, Pace* pace);

  LargeVector<uint32_t> lengths_;
  LargeVector<Tail> tails_;
  TokenSet repeated_;
  LargeVector<uint32_t> longest_;  // per token; those of repeated_ mean something
  LargeVector<DryPenalty> penalties_;
};

template <class Visit>
void RepetitionFinder::VisitTails(absl::Span<const uint32_t> history, Pace* pace,
                                  const Visit& visit) {
  if (history.size() < 2) return;
  FindLengths(history, pace);
  const uint32_t* const newest = &history.back();
  ForEachScattered(pace, history.size() - 1, [&](size_t back) {
    const uint32_t agrees = lengths_[back + 1];
    if (agrees > 0) visit(*(newest - back), size_t{agrees});
  });
}

template <class Visit>
void RepetitionFinder::VisitTails(const IndexedHistory& history, size_t begin, Pace* pace,
                                  const Visit& visit) {
  // As above, but that only the places are looked at to which the index leads.
  constexpr size_t kPiecePlaces = 4096;  // each of which may lie where no cache has it
  const HistoryIds& ids = history.ids;
  const size_t size = ids.size();
  size_t left = 0;
  size_t right = 0;  // what is from `left` to `right` tokens back agrees with the end
  size_t known = 0;  // of tails_, the first that may lie as far back from the end as this from left
  tails_.clear();
  history.index.VisitAlike(ids, [&](size_t place) {
    if (place < begin) return false;
    if (tails_.size() % kPiecePlaces == kPiecePlaces - 1) Ask(pace);
    const size_t back = size - 1 - place;
    size_t agrees = 0;
    if (back < right) {
      while (known < tails_.size() && tails_[known].back < back - left) ++known;
      if (known < tails_.size() && tails_[known].back == back - left) {
        agrees = std::min<size_t>(right - back, tails_[known].length);
      }
    }
    if (agrees == 0 || back + agrees >= right) {
      agrees += CommonEnd(history, place + 1 - agrees, size - agrees, begin, pace);
      if (back + agrees > right) {
        left = back;
        right = back + agrees;
        known = 0;
      }
    }
    tails_.push_back({static_cast<uint32_t>(back), static_cast<uint32_t>(agrees)});
    if (agrees > 0) visit(ids[place + 1], agrees);
    return true;
  });
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_H_
