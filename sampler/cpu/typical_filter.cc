#include "sampler/cpu/typical_filter.h"

#include <algorithm>

#include "sampler/cpu/list_sums.h"

namespace token_sampler::cpu {
namespace {

// That of no token that has a weight.
constexpr Uint128 kNoDistance = ~Uint128{0};

int BitWidth(Uint128 value) {
  int bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return bits;
}

// The last of the shortest sorted prefix that reaches `mass` and has `count` candidates, or of all
// of them. Moves candidates about.
template <class Candidate>
Candidate SelectLast(Candidate* begin, Candidate* end, uint64_t mass, size_t count) {
  // Halves the range in which the last one is, until it is alone.
  while (end - begin > 1) {
    Candidate* const middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    uint64_t before = 0;
    for (const Candidate* candidate = begin; candidate != middle; ++candidate) {
      before += candidate->weight;
    }
    const auto size = static_cast<size_t>(middle - begin);
    if (before >= mass && size >= count) {
      end = middle;
    } else {
      begin = middle;
      mass -= std::min(before, mass);
      count -= std::min(size, count);
    }
  }
  return *begin;
}

}  // namespace

Uint128 TypicalFilter::Measure(const Weigher& weigher, const TokenList& list, uint64_t total) {
  const Int128 mean = SumLog2Weights(list, weigher);  // times total
  Uint128* distances = distances_.Reserve(list.count);
  Uint128 largest = 0;
  for (size_t i = 0; i < list.count; ++i) {
    distances[i] = kNoDistance;
    if (list.weights[i] == 0) continue;
    const Int128 difference = Int128{Log2Weight(list, i, weigher)} * total - mean;
    distances[i] = static_cast<Uint128>(difference < 0 ? -difference : difference);
    largest = std::max(largest, distances[i]);
  }
  return largest;
}

void TypicalFilter::FillBins(const TokenList& list, Uint128 largest) {
  const int shift = std::max(BitWidth(largest) - kBinBits, 0);
  uint16_t* bins = bins_.Reserve(list.count);
  mass_.fill(0);
  counts_.fill(0);
  for (size_t i = 0; i < list.count; ++i) {
    bins[i] = static_cast<uint16_t>(
        distances_[i] == kNoDistance ? kBins - 1 : static_cast<size_t>(distances_[i] >> shift));
    mass_[bins[i]] += list.weights[i];
    ++counts_[bins[i]];
  }
}

TypicalFilter::Candidate TypicalFilter::FindLast(const TokenList& list, uint64_t mass,
                                                 size_t count) {
  size_t bin = 0;
  for (; mass_[bin] < mass || counts_[bin] < count; ++bin) {
    mass -= std::min(mass_[bin], mass);
    count -= std::min(counts_[bin], count);
  }
  Candidate* candidates = candidates_.Reserve(counts_[bin]);
  size_t found = 0;
  for (size_t i = 0; i < list.count; ++i) {
    if (bins_[i] != bin) continue;
    candidates[found++] = {distances_[i], list.KeyOf(i), list.weights[i]};
  }
  return SelectLast(candidates, candidates + found, mass, count);
}

void TypicalFilter::Keep(const SamplingParams& params, const Weigher& weigher, TokenList& list) {
  const uint64_t total = list.TotalWeight();
  FillBins(list, Measure(weigher, list, total));
  Candidate last = FindLast(list, CeilFraction(params.typical_p, total), 1);
  if (params.top_k_ties == TiePolicy::kKeepAll) last.key = 0;
  if (params.min_tokens_to_keep > 1) {
    const size_t least = std::min<size_t>(params.min_tokens_to_keep, list.count);
    last = std::max(last, FindLast(list, 0, least));
  }
  list.RetainIf([&](size_t i) {
    return distances_[i] < last.distance ||
           (distances_[i] == last.distance && list.KeyOf(i) >= last.key);
  });
}

}  // namespace token_sampler::cpu
