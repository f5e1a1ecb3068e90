// Finds repetitions inside a history, for no_repeat_ngram_size and DRY.

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

// A history with its index.
struct IndexedHistory {
  HistoryIds ids;
  const RepetitionIndex& index;
};

// Returns how many known tokens (below vocab) before `end` equal those before `other_end`, going
// back to `begin`. `end` must be below `other_end`.
size_t CommonEnd(const IndexedHistory& history, size_t end, size_t other_end, size_t begin,
                 Pace* pace);

// The number that DRY subtracts from a token's logit.
struct DryPenalty {
  uint32_t id;
  float value;  // >= 0
};

// Finds repetitions in time linear in the length of the history, which must be below 2^32. With an
// index it takes time linear in the number of places that repeat the last few tokens, and in the
// longest repetition. Reuses its memory: results are valid until the next call. Throws Interrupted
// if a pace stops it.
class RepetitionFinder {
 public:
  // Calls visit(next_id, length) for each earlier place that repeats the end of the history, from
  // the latest to the first: the last `length` >= 1 tokens are also there, followed by `next_id`.
  template <class Visit>
  void VisitTails(absl::Span<const uint32_t> history, Pace* pace, const Visit& visit);

  // The same for the history from `begin` on. Visits all places that repeat at least the last
  // gram() tokens of the index's rules, and maybe others.
  template <class Visit>
  void VisitTails(const IndexedHistory& history, size_t begin, Pace* pace, const Visit& visit);

  // Returns the penalties of the tokens below `vocab` that would continue a repetition of at least
  // dry.allowed_length tokens, one per token: SPEC.md §8.
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, absl::Span<const uint32_t> history,
                                                int64_t vocab, Pace* pace);
  absl::Span<const DryPenalty> FindDryPenalties(const Dry& dry, const IndexedHistory& history,
                                                int64_t vocab, Pace* pace);

 private:
  // A place that repeats the last `length` tokens of the history; it ends `back` tokens before the
  // history does.
  struct Tail {
    uint32_t back;
    uint32_t length;
  };

  // Calls visit_tails(visit), which must visit the repetitions in the part of the history that DRY
  // reads. At most `limit` tokens of a repetition count. is_breaker(id, i) returns true if the
  // token by itself is a breaker; it is the i-th call.
  template <class IsBreaker, class VisitDryTails>
  absl::Span<const DryPenalty> CollectDry(const Dry& dry, size_t limit, int64_t vocab, Pace* pace,
                                          const IsBreaker& is_breaker,
                                          const VisitDryTails& visit_tails);

  // Sets lengths_[i], for i > 0, to how many of the last tokens of the history are also the last
  // before its final i tokens.
  void FindLengths(absl::Span<const uint32_t> history, Pace* pace);

  LargeVector<uint32_t> lengths_;
  LargeVector<Tail> tails_;
  TokenSet repeated_;
  LargeVector<uint32_t> longest_;  // per token; valid for those in repeated_
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
  // The Z algorithm again, but only at the places that the index finds.
  constexpr size_t kPiecePlaces = 4096;  // each may be in no cache
  const HistoryIds& ids = history.ids;
  const size_t size = ids.size();
  size_t left = 0;
  size_t right = 0;  // the tokens from `left` to `right` back from the end repeat the last ones
  size_t known = 0;  // the first of tails_ that may be as far back from the end as this place is
                     // from `left`
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
