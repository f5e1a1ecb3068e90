#include "sampler/repetition/repetition.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "sampler/arithmetic/elementary.h"
#include "sampler/repetition/breaker_finder.h"

namespace token_sampler {
namespace {

using Ids = absl::Span<const uint32_t>;

using Breakers = std::vector<std::vector<uint32_t>>;

// Finds breakers in a history. It compares all breakers at each place until that has taken about as
// long as making an automaton of them would; then it makes and uses the automaton.
class DryBreakers {
 public:
  explicit DryBreakers(const Breakers& breakers) : breakers_(breakers) {
    for (const std::vector<uint32_t>& breaker : breakers) {
      tokens_ += breaker.size();
      longest_ = std::max(longest_, breaker.size());
    }
  }

  // Returns the number of tokens after the last breaker in `history`; all of them if there is none.
  size_t LengthBehind(Ids history, Pace* pace) {
    if (breakers_.empty()) return history.size();
    // Few tokens end a breaker. A bit for each of 64 classes of ids excludes most others.
    const auto bit_of = [](uint32_t id) { return uint64_t{1} << (id % 64); };
    uint64_t ends = 0;
    for (const std::vector<uint32_t>& breaker : breakers_) ends |= bit_of(breaker.back());
    for (size_t behind = 0; behind < history.size(); ++behind) {
      if (behind % kPieceItems == kPieceItems - 1) Ask(pace);
      const Ids before = history.first(history.size() - behind);
      if ((ends & bit_of(before.back())) == 0) continue;
      if (!Compares(behind)) return behind + FindNewest(before, pace);
      for (const std::vector<uint32_t>& breaker : breakers_) {
        if (before.size() >= breaker.size() && before.last(breaker.size()) == Ids(breaker)) {
          return behind;
        }
      }
    }
    return history.size();
  }

  // True if the token by itself is a breaker. `asked`: the number of tokens that were asked about
  // before.
  bool IsOne(uint32_t id, size_t asked) {
    if (breakers_.empty()) return false;
    if (!Compares(asked)) return finder_->IsBreaker(id);
    return std::any_of(breakers_.begin(), breakers_.end(), [id](const auto& breaker) {
      return breaker.size() == 1 && breaker[0] == id;
    });
  }

 private:
  // Comparisons that take as long as making the automaton does per token of a breaker, and as long
  // as it takes to read a token of the history.
  static constexpr size_t kForToken = 8;
  static constexpr size_t kForPlace = 4;

  // True if all breakers should be compared once more, after `places` places. If false, finder_ is
  // set.
  bool Compares(size_t places) {
    if (finder_.has_value()) return false;
    compared_ += breakers_.size();
    if (compared_ <= kForToken * tokens_ + kForPlace * places) return true;
    finder_.emplace(breakers_);
    return false;
  }

  size_t FindNewest(Ids history, Pace* pace) const {
    // The automaton reads forwards. So let it read part after part of the history, from the last,
    // short one to earlier, longer ones.
    constexpr size_t kLeast = 256;
    size_t end = history.size();
    for (size_t size = kLeast; end > 0; size = std::min(2 * size, kPieceItems)) {
      const size_t begin = end - std::min(size, end);
      BreakerFinder::State state = 0;
      // A breaker that ends in this part may begin before it.
      for (size_t i = begin - std::min(begin, longest_ - 1); i < begin; ++i) {
        state = finder_->Next(state, history[i]);
      }
      size_t newest_end = 0;
      for (size_t i = begin; i < end; ++i) {
        state = finder_->Next(state, history[i]);
        if (finder_->ShortestAtEnd(state) > 0) newest_end = i + 1;
      }
      if (newest_end > 0) return history.size() - newest_end;
      end = begin;
      if (size == kPieceItems) Ask(pace);
    }
    return history.size();
  }

  const Breakers& breakers_;
  size_t tokens_ = 0;
  size_t longest_ = 0;
  size_t compared_ = 0;
  std::optional<BreakerFinder> finder_;
};

}  // namespace

size_t CommonEnd(const IndexedHistory& history, size_t end, size_t other_end, size_t begin,
                 Pace* pace) {
  const RepetitionRules& rules = history.index.rules();
  size_t agrees = 0;
  while (end - agrees > begin) {
    // Compare tokens that are contiguous in both: takes less than a millisecond.
    const Ids piece = history.ids.PieceBefore(end - agrees);
    const Ids other = history.ids.PieceBefore(other_end - agrees);
    const size_t most =
        std::min({piece.size(), other.size(), end - agrees - begin, kPieceItems * 8});
    const uint32_t* const newest = piece.data() + piece.size() - 1;
    const uint32_t* const other_newest = other.data() + other.size() - 1;
    size_t same = 0;
    while (same < most && *(newest - same) == *(other_newest - same) &&
           rules.Knows(*(newest - same))) {
      ++same;
    }
    agrees += same;
    if (same < most) break;
    if (most == kPieceItems * 8) Ask(pace);
  }
  return agrees;
}

void RepetitionFinder::FindLengths(Ids history, Pace* pace) {
  // The Z algorithm on the reversed history: length[i] is how far its part from i on agrees with
  // the whole.
  const size_t size = history.size();
  const uint32_t* const newest = &history[size - 1];
  const auto at = [newest](size_t i) { return *(newest - i); };
  ResizePaced(pace, size, lengths_);
  uint32_t* const length = lengths_.data();
  size_t left = 0;
  size_t right = 0;  // [left, right) agrees with the beginning; the largest such `right` so far
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
  }
}

template <class IsBreaker, class VisitDryTails>
absl::Span<const DryPenalty> RepetitionFinder::CollectDry(const Dry& dry, size_t limit,
                                                          int64_t vocab, Pace* pace,
                                                          const IsBreaker& is_breaker,
                                                          const VisitDryTails& visit_tails) {
  penalties_.clear();
  if (limit < dry.allowed_length) return penalties_;
  repeated_.Reset(vocab, pace);
  ResizePaced(pace, static_cast<size_t>(vocab), longest_);
  visit_tails([&](uint32_t next_id, size_t agrees) {
    if (agrees < dry.allowed_length || next_id >= vocab) return;
    const auto length = static_cast<uint32_t>(std::min(agrees, limit));
    uint32_t& longest = longest_[next_id];
    longest = repeated_.Add(next_id) ? length : std::max(longest, length);
  });
  const LargeVector<uint32_t>& ids = repeated_.ids();
  penalties_.reserve(ids.size());
  ForEachScattered(pace, ids.size(), [&](size_t i) {
    if (is_breaker(ids[i], i)) return;
    const double penalty =
        dry.multiplier * Pow(dry.base, static_cast<double>(longest_[ids[i]] - dry.allowed_length));
    penalties_.push_back(
        {ids[i], static_cast<float>(std::min(penalty, double{std::numeric_limits<float>::max()}))});
  });
  return penalties_;
}

absl::Span<const DryPenalty> RepetitionFinder::FindDryPenalties(const Dry& dry, Ids history,
                                                                int64_t vocab, Pace* pace) {
  if (dry.last_n >= 0) {
    history = history.last(std::min(history.size(), static_cast<size_t>(dry.last_n)));
  }
  DryBreakers breakers(dry.breakers);
  const size_t limit = breakers.LengthBehind(history, pace);
  return CollectDry(
      dry, limit, vocab, pace, [&](uint32_t id, size_t asked) { return breakers.IsOne(id, asked); },
      [&](const auto& visit) { VisitTails(history, pace, visit); });
}

absl::Span<const DryPenalty> RepetitionFinder::FindDryPenalties(const Dry& dry,
                                                                const IndexedHistory& history,
                                                                int64_t vocab, Pace* pace) {
  const size_t size = history.ids.size();
  const size_t begin = dry.last_n < 0 ? 0 : size - std::min(size, static_cast<size_t>(dry.last_n));
  const size_t limit = history.index.LengthAfterBreakers(begin);
  const BreakerFinder* const breakers = history.index.rules().breakers();
  return CollectDry(
      dry, limit, vocab, pace,
      [&](uint32_t id, size_t) { return breakers != nullptr && breakers->IsBreaker(id); },
      [&](const auto& visit) { VisitTails(history, begin, pace, visit); });
}

}  // namespace token_sampler
