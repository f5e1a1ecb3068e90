#include "sampler/repetition.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "sampler/elementary.h"

namespace token_sampler {
namespace {

using Ids = absl::Span<const uint32_t>;

// Tokens that are looked at for breakers between two questions to the row's pace: each may be
// compared with all of these.
constexpr size_t kPieceTokens = 2048;

// How many tokens at the end of `history` no breaker reaches into.
size_t LengthBehindBreakers(const std::vector<std::vector<uint32_t>>& breakers, Ids history,
                            Pace* pace) {
  if (breakers.empty()) return history.size();
  // Few tokens end a breaker: a bit for each of 64 classes of them passes over most others.
  const auto bit_of = [](uint32_t id) { return uint64_t{1} << (id % 64); };
  uint64_t ends = 0;
  for (const std::vector<uint32_t>& breaker : breakers) ends |= bit_of(breaker.back());
  for (size_t behind = 0; behind < history.size(); ++behind) {
    if (behind % kPieceTokens == kPieceTokens - 1) Ask(pace);
    const Ids before = history.first(history.size() - behind);
    if ((ends & bit_of(before.back())) == 0) continue;
    for (const std::vector<uint32_t>& breaker : breakers) {
      if (before.size() >= breaker.size() && before.last(breaker.size()) == Ids(breaker)) {
        return behind;
      }
    }
  }
  return history.size();
}

bool IsBreaker(const std::vector<std::vector<uint32_t>>& breakers, uint32_t id) {
  return std::any_of(breakers.begin(), breakers.end(), [id](const std::vector<uint32_t>& breaker) {
    return breaker.size() == 1 && breaker[0] == id;
  });
}

}  // namespace

size_t CommonEnd(const IndexedHistory& history, size_t end, size_t other_end, size_t begin,
                 Pace* pace) {
  const RepetitionRules& rules = history.index.rules();
  size_t agrees = 0;
  while (end - agrees > begin) {
    // Compares what lies in one piece in both: less than a millisecond.
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

template <class VisitDryTails>
absl::Span<const DryPenalty> RepetitionFinder::CollectDry(const Dry& dry, size_t limit,
                                                          int64_t vocab, Pace* pace,
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
  ForEachPaced(pace, ids.size(), [&](size_t i) {
    if (IsBreaker(dry.breakers, ids[i])) return;
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
  const size_t limit = LengthBehindBreakers(dry.breakers, history, pace);
  return CollectDry(dry, limit, vocab, pace,
                    [&](const auto& visit) { VisitTails(history, pace, visit); });
}

absl::Span<const DryPenalty> RepetitionFinder::FindDryPenalties(const Dry& dry,
                                                                const IndexedHistory& history,
                                                                int64_t vocab, Pace* pace) {
  const size_t size = history.ids.size();
  const size_t begin = dry.last_n < 0 ? 0 : size - std::min(size, static_cast<size_t>(dry.last_n));
  const size_t limit = history.index.LengthAfterBreakers(begin);
  return CollectDry(dry, limit, vocab, pace,
                    [&](const auto& visit) { VisitTails(history, begin, pace, visit); });
}

}  // namespace token_sampler
