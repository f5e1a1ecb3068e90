#include "sampler/repetition.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "sampler/elementary.h"

namespace token_sampler {
namespace {

using Ids = absl::Span<const uint32_t>;

// How many tokens at the end of `history` no breaker reaches into.
size_t LengthBehindBreakers(const std::vector<std::vector<uint32_t>>& breakers, Ids history) {
  size_t length = history.size();
  for (const std::vector<uint32_t>& breaker : breakers) {
    for (size_t behind = 0; behind + breaker.size() <= history.size() && behind < length;
         ++behind) {
      const size_t begin = history.size() - behind - breaker.size();
      if (history.subspan(begin, breaker.size()) == Ids(breaker)) length = behind;
    }
  }
  return length;
}

bool IsBreaker(const std::vector<std::vector<uint32_t>>& breakers, uint32_t id) {
  return std::any_of(breakers.begin(), breakers.end(), [id](const std::vector<uint32_t>& breaker) {
    return breaker.size() == 1 && breaker[0] == id;
  });
}

}  // namespace

absl::Span<const RepeatedTail> RepetitionFinder::FindTails(Ids history) {
  // The Z algorithm on the reversed history: length[i] is how far the part that starts at i agrees
  // with the whole.
  const size_t size = history.size();
  const auto at = [history, size](size_t i) { return history[size - 1 - i]; };
  std::vector<size_t>& length = lengths_;
  length.assign(size, 0);
  tails_.clear();
  size_t left = 0;
  size_t right = 0;  // [left, right) agrees with the beginning, right the largest so far
  for (size_t i = 1; i < size; ++i) {
    if (i < right) length[i] = std::min(right - i, length[i - left]);
    while (i + length[i] < size && at(length[i]) == at(i + length[i])) ++length[i];
    if (i + length[i] > right) {
      left = i;
      right = i + length[i];
    }
    if (length[i] > 0) tails_.push_back({at(i - 1), length[i]});
  }
  return tails_;
}

absl::Span<const DryPenalty> RepetitionFinder::FindDryPenalties(const Dry& dry, Ids history) {
  if (dry.last_n >= 0) {
    history = history.last(std::min(history.size(), static_cast<size_t>(dry.last_n)));
  }
  const uint64_t limit = LengthBehindBreakers(dry.breakers, history);
  FindTails(history);
  size_t kept = 0;
  for (const RepeatedTail& tail : tails_) {
    const uint64_t length = std::min(tail.length, limit);
    if (length < dry.allowed_length || IsBreaker(dry.breakers, tail.next_id)) continue;
    tails_[kept++] = {tail.next_id, length};
  }
  tails_.resize(kept);
  // Of each token the longest comes first.
  std::sort(tails_.begin(), tails_.end(), [](const RepeatedTail& a, const RepeatedTail& b) {
    return a.next_id != b.next_id ? a.next_id < b.next_id : a.length > b.length;
  });
  penalties_.clear();
  for (const RepeatedTail& tail : tails_) {
    if (!penalties_.empty() && penalties_.back().id == tail.next_id) continue;
    const double penalty =
        dry.multiplier * Pow(dry.base, static_cast<double>(tail.length - dry.allowed_length));
    penalties_.push_back({tail.next_id, static_cast<float>(std::min(
                                            penalty, double{std::numeric_limits<float>::max()}))});
  }
  return penalties_;
}

}  // namespace token_sampler
