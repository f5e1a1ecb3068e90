// An index of a history that grows one token at a time. It finds the places that repeat the
// history's end without reading the rest.

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

// A prompt followed by the output, as one sequence of tokens.
class HistoryIds {
 public:
  HistoryIds(absl::Span<const uint32_t> prompt, absl::Span<const uint32_t> output)
      : prompt_(prompt), output_(output) {}

  size_t size() const { return prompt_.size() + output_.size(); }
  uint32_t operator[](size_t i) const {
    return i < prompt_.size() ? prompt_[i] : output_[i - prompt_.size()];
  }

  // The tokens before `end` that are contiguous in memory. `end` is in [1, size()].
  absl::Span<const uint32_t> PieceBefore(size_t end) const {
    return end <= prompt_.size() ? prompt_.first(end) : output_.first(end - prompt_.size());
  }

 private:
  absl::Span<const uint32_t> prompt_;
  absl::Span<const uint32_t> output_;
};

// The repetitions that the indices of histories with the same parameters look for. Immutable, so
// thread-safe.
class RepetitionRules {
 public:
  // True if the parameters need repetitions that an index finds.
  static bool Apply(const SamplingParams& params);

  // An upper bound of the memory that the rules take, in bytes.
  static uint64_t BytesFor(const SamplingParams& params);

  // The parameters must have passed ValidateParams, and Apply(params) must be true.
  RepetitionRules(const SamplingParams& params, int64_t vocab);

  // Repetitions of fewer tokens than this have no effect. At most kMostTokens.
  size_t gram() const { return gram_; }

  // Null if there are no breakers.
  const BreakerFinder* breakers() const { return breakers_.has_value() ? &*breakers_ : nullptr; }

  // Returns a hash of the last gram() of the first `end` tokens. Returns nothing if there are
  // fewer, or if one of them is not below vocab: such a token equals no other.
  std::optional<uint64_t> HashBefore(const HistoryIds& ids, size_t end) const;

  bool Knows(uint32_t id) const { return id < vocab_; }

 private:
  // Longer grams are hardly rarer, and every token is hashed gram() times.
  static constexpr size_t kMostTokens = 4;

  size_t gram_ = kMostTokens;
  uint32_t vocab_;
  std::optional<BreakerFinder> breakers_;
};

// Links the last token of each gram to the last token of the previous gram whose hash leads to the
// same chain. The rules and the prompt's index must outlive this and not change. Const functions
// are thread-safe.
class RepetitionIndex {
 public:
  // Indexes the tokens after those of `prompt`, if it is not null. `ids` in the functions below
  // includes the tokens of the prompt.
  RepetitionIndex(const RepetitionRules* rules, const RepetitionIndex* prompt);

  // The number of own tokens for which there is room, and the bytes that room for `capacity` tokens
  // takes.
  size_t capacity() const { return before_.capacity(); }
  uint64_t BytesFor(size_t capacity) const;

  // Makes room for `capacity` own tokens, at least as many as it has, in time linear in it. Asks
  // `pace`, if there is one. It may throw Interrupted (sampler/rows/paced.h), which leaves the
  // index unusable.
  void Reserve(size_t capacity, const HistoryIds& ids, Pace* pace = nullptr);

  // Adds the first token of `ids` that is not indexed yet. There must be room for it.
  void Append(const HistoryIds& ids);

  // Adds all tokens of `ids` that are not indexed yet. There must be room for them.
  void AppendAll(const HistoryIds& ids, Pace* pace);

  // Removes the `count` newest tokens, which must be its own. `ids` must still have them.
  void RemoveNewest(const HistoryIds& ids, size_t count);

  // The number of tokens, including those of the prompt.
  size_t size() const { return first_ + before_.size(); }

  const RepetitionRules& rules() const { return *rules_; }

  // Returns an upper bound of the number of places that VisitAlike visits.
  size_t CountAlike(const HistoryIds& ids) const;

  // Calls visit(i), from the latest to the first, for each i before the end of `ids` at which a
  // gram may end that equals the one at the end, until a call returns false. Visits all places of
  // equal grams, and few others.
  template <class Visit>
  void VisitAlike(const HistoryIds& ids, const Visit& visit) const;

  // Returns the number of tokens after the last breaker that begins at `begin` or later; size() -
  // begin if there is none.
  size_t LengthAfterBreakers(size_t begin) const;

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  struct Chain {
    uint32_t newest = kNone;
    uint32_t count = 0;
  };
  // A place where breakers end, and the number of tokens of the shortest of them.
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
  std::vector<Chain> chains_;     // a power of two, at most the capacity but at least kLeastChains
  int shift_ = 64;                // a hash shifted right by this is the index of its chain
  BreakerFinder::State state_ = 0;
  std::vector<Break> breaks_;  // by ascending end
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
