// An index of a history that grows a token at a time: it leads to the places which its end repeats
// without a look at the rest.

#ifndef TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_INDEX_H_
#define TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "sampler/params/sampling_params.h"
#include "sampler/repetition/breaker_finder.h"
#include "sampler/rows/pace.h"

namespace token_sampler {

// A prompt and the output after it, as one sequence of tokens.
class HistoryIds {
 public:
  HistoryIds(absl::Span<const uint32_t> prompt, absl::Span<const uint32_t> output)
      : prompt_(prompt), output_(output) {}

  size_t size() const { return prompt_.size() + output_.size(); }
  uint32_t operator[](size_t i) const {
    return i < prompt_.size() ? prompt_[i] : output_[i - prompt_.size()];
  }

  // The tokens that lie in one piece before `end`, which is in [1, size()].
  absl::Span<const uint32_t> PieceBefore(size_t end) const {
    return end <= prompt_.size() ? prompt_.first(end) : output_.first(end - prompt_.size());
  }

 private:
  absl::Span<const uint32_t> prompt_;
  absl::Span<const uint32_t> output_;
};

// Tells indices of histories with the same parameters what to look for. Thread-safe once made.
class RepetitionRules {
 public:
  // True when the parameters look for repetitions that an index leads to.
  static bool Apply(const SamplingParams& params);

  // The memory that the rules take, at most.
  static uint64_t BytesFor(const SamplingParams& params);

  // For parameters that have passed ValidateParams, and to which they apply.
  RepetitionRules(const SamplingParams& params, int64_t vocab);

  // Repetitions of fewer tokens than this mean nothing. At most kMostTokens.
  size_t gram() const { return gram_; }

  // Null without breakers.
  const BreakerFinder* breakers() const { return breakers_.has_value() ? &*breakers_ : nullptr; }

  // A number of the last gram() of the first `end` tokens; nothing when there are fewer or one of
  // them is not below vocab, for such a token equals none.
  std::optional<uint64_t> HashBefore(const HistoryIds& ids, size_t end) const;

  bool Knows(uint32_t id) const { return id < vocab_; }

 private:
  // Longer ones are hardly rarer, and each token is hashed so often.
  static constexpr size_t kMostTokens = 4;

  size_t gram_ = kMostTokens;
  uint32_t vocab_;
  std::optional<BreakerFinder> breakers_;
};

// Each last token of a gram leads to the one before it whose gram has about the same hash. What is
// referred to must outlive the index and stay as it is. Const functions are thread-safe.
class RepetitionIndex {
 public:
  // Indexes the tokens after those of `prompt`, if that is not null; `ids` in the functions below
  // include the prompt's.
  RepetitionIndex(const RepetitionRules* rules, const RepetitionIndex* prompt);

  // How many of its own tokens there is room for, and the memory that room for `capacity` takes.
  size_t capacity() const { return before_.capacity(); }
  uint64_t BytesFor(size_t capacity) const;

  // Makes room for `capacity` own tokens, no fewer than it has, in time linear in it. Asks `pace`,
  // if any, and may throw Interrupted (sampler/rows/paced.h), which leaves an index of no use.
  void Reserve(size_t capacity, const HistoryIds& ids, Pace* pace = nullptr);

  // Goes on by the first token of `ids` that it has not got. There must be room.
  void Append(const HistoryIds& ids);

  // Goes on by all that it has not got, as above.
  void AppendAll(const HistoryIds& ids, Pace* pace);

  // Takes back the `count` newest tokens, which are its own. `ids` still have them.
  void RemoveNewest(const HistoryIds& ids, size_t count);

  // Tokens, with the prompt's.
  size_t size() const { return first_ + before_.size(); }

  const RepetitionRules& rules() const { return *rules_; }

  // An upper bound of the places that VisitAlike visits.
  size_t CountAlike(const HistoryIds& ids) const;

  // Calls visit(i) for each earlier i, the latest first, at which a gram may end that equals the
  // one at the end of `ids`, until one returns false. All that equal it are visited, and few
  // others.
  template <class Visit>
  void VisitAlike(const HistoryIds& ids, const Visit& visit) const;

  // How many of the newest tokens no breaker reaches into that begins at `begin` or later;
  // size() - begin when there is none.
  size_t LengthAfterBreakers(size_t begin) const;

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  struct Chain {
    uint32_t newest = kNone;
    uint32_t count = 0;
  };
  // A place where breakers end, and the tokens of the shortest of them.
  struct Break {
    uint32_t end;
    uint32_t length;
  };

  Chain& ChainOf(uint64_t hash) { return chains_[hash >> shift_]; }
  const Chain& ChainOf(uint64_t hash) const { return chains_[hash >> shift_]; }
  void Link(const HistoryIds& ids, uint32_t place);

  const RepetitionRules* rules_;
  const RepetitionIndex* prompt_;
  size_t first_;                  // place of the first own token
  std::vector<uint32_t> before_;  // per own token: the one before it in its chain
  std::vector<Chain> chains_;     // a power of two, about as many as there is room for tokens
  int shift_ = 64;                // leaves so many bits of a hash
  BreakerFinder::State state_ = 0;
  std::vector<Break> breaks_;  // in their order
};

template <class Visit>
void RepetitionIndex::VisitAlike(const HistoryIds& ids, const Visit& visit) const {
  const std::optional<uint64_t> hash = rules_->HashBefore(ids, ids.size());
  if (!hash.has_value()) return;
  const size_t last = ids.size() - 1;
  for (const RepetitionIndex* part = this; part != nullptr; part = part->prompt_) {
    if (part->before_.empty()) continue;
    for (uint32_t i = part->ChainOf(*hash).newest; i != kNone;
         i = part->before_[i - part->first_]) {
      if (i != last && !visit(size_t{i})) return;
    }
  }
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REPETITION_REPETITION_INDEX_H_
