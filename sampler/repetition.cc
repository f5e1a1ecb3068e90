#include "sampler/repetition.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>

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

std::vector<RepeatedTail> FindRepeatedTails(Ids history) {
  // The Z algorithm on the reversed history: length[i] is how far the part that starts at i agrees
  // with the whole.
  const size_t size = history.size();
  const auto at = [history, size](size_t i) { return history[size - 1 - i]; };
  std::vector<size_t> length(size);
  std::vector<RepeatedTail> tails;
  size_t left = 0;
  size_t right = 0;  // [left, right) agrees with the beginning, right the largest so far
  for (size_t i = 1; i < size; ++i) {
    if (i < right) length[i] = std::min(right - i, length[i - left]);
    while (i + length[i] < size && at(length[i]) == at(i + length[i])) ++length[i];
    if (i + length[i] > right) {
      left = i;
      right = i + length[i];
    }
    if (length[i] > 0) tails.push_back({at(i - 1), length[i]});
  }
  return tails;
}

std::vector<DryPenalty> FindDryPenalties(const Dry& dry, Ids history) {
  if (dry.last_n >= 0) {
    history = history.last(std::min(history.size(), static_cast<size_t>(dry.last_n)));
  }
  const uint64_t limit = LengthBehindBreakers(dry.breakers, history);
  std::map<uint32_t, uint64_t> lengths;
  for (const RepeatedTail& tail : FindRepeatedTails(history)) {
    const uint64_t length = std::min(tail.length, limit);
    if (length < dry.allowed_length || IsBreaker(dry.breakers, tail.next_id)) continue;
    uint64_t& longest = lengths[tail.next_id];
    longest = std::max(longest, length);
  }
  std::vector<DryPenalty> penalties;
  for (const auto& [id, length] : lengths) {
    const double penalty =
        dry.multiplier * Pow(dry.base, static_cast<double>(length - dry.allowed_length));
    penalties.push_back(
        {id, static_cast<float>(std::min(penalty, double{std::numeric_limits<float>::max()}))});
  }
  return penalties;
}

}  // namespace token_sampler
