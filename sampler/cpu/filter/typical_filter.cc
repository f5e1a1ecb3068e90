#include "sampler/cpu/filter/typical_filter.h"

#include <algorithm>

#include "sampler/cpu/filter/list_sums.h"
#include "sampler/rows/paced.h"

namespace token_sampler::cpu {
namespace {

// The distance of tokens of weight 0, greater than any other.
constexpr Uint128 kNoDistance = ~Uint128{0};

int BitWidth(Uint128 value) {
  int bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return bits;
}

// Returns the last entry of the shortest sorted prefix that reaches `mass` and has `count`
// entries; the last of all if none does. Reorders the entries.
template <class Entry>
Entry SelectLast(Entry* begin, Entry* end, uint64_t mass, size_t count) {
  // Halve the range that has the last entry until nothing else is in it.
  while (end - begin > 1) {
    Entry* const middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    uint64_t before = 0;
    for (const Entry* entry = begin; entry != middle; ++entry) {
      before += entry->weight;
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
  list.ForEach([&](size_t i) {
    distances[i] = kNoDistance;
    if (list.weights[i] == 0) return;
    const Int128 difference = Int128{Log2Weight(list, i, weigher)} * total - mean;
    distances[i] = static_cast<Uint128>(difference < 0 ? -difference : difference);
    largest = std::max(largest, distances[i]);
  });
  return largest;
}

void TypicalFilter::FillBins(const TokenList& list, Uint128 largest) {
  const int shift = std::max(BitWidth(largest) - kBinBits, 0);
  uint16_t* bins = bins_.Reserve(list.count);
  mass_.fill(0);
  counts_.fill(0);
  list.ForEach([&](size_t i) {
    bins[i] = static_cast<uint16_t>(
        distances_[i] == kNoDistance ? kBins - 1 : static_cast<size_t>(distances_[i] >> shift));
    mass_[bins[i]] += list.weights[i];
    ++counts_[bins[i]];
  });
}

size_t TypicalFilter::TakeBin(uint64_t& mass, size_t& count) const {
  size_t bin = 0;
  for (; mass_[bin] < mass || counts_[bin] < count; ++bin) {
    mass -= std::min(mass_[bin], mass);
    count -= std::min(counts_[bin], count);
  }
  return bin;
}

size_t TypicalFilter::Narrow(size_t size, uint64_t& mass, size_t& count, Pace* pace) {
  // Make finer bins by distance; if all distances are equal, by the order.
  Entry* const entries = entries_.data();
  bool by_distance = false;
  ForEachPaced(pace, size,
               [&](size_t i) { by_distance |= entries[i].distance != entries[0].distance; });
  const auto place_of = [by_distance](const Entry& entry) {
    return by_distance ? entry.distance : Uint128{~entry.key};
  };
  Uint128 first = place_of(entries[0]);
  Uint128 last = first;
  ForEachPaced(pace, size, [&](size_t i) {
    first = std::min(first, place_of(entries[i]));
    last = std::max(last, place_of(entries[i]));
  });
  const int shift = std::max(BitWidth(last - first) - kBinBits, 0);
  const auto bin_of = [&](const Entry& entry) {
    return static_cast<size_t>((place_of(entry) - first) >> shift);
  };
  mass_.fill(0);
  counts_.fill(0);
  ForEachPaced(pace, size, [&](size_t i) {
    mass_[bin_of(entries[i])] += entries[i].weight;
    ++counts_[bin_of(entries[i])];
  });
  const size_t bin = TakeBin(mass, count);
  size_t kept = 0;
  ForEachPaced(pace, size, [&](size_t i) {
    const Entry entry = entries[i];
    entries[kept] = entry;
    kept += bin_of(entry) == bin ? 1 : 0;
  });
  return kept;
}

TypicalFilter::Entry TypicalFilter::FindLast(const TokenList& list, uint64_t mass, size_t count) {
  const size_t bin = TakeBin(mass, count);
  Entry* entries = entries_.Reserve(counts_[bin]);
  size_t found = 0;
  list.ForEach([&](size_t i) {
    if (bins_[i] != bin) return;
    entries[found++] = {distances_[i], list.KeyOf(i), list.weights[i]};
  });
  // SelectLast cannot be interrupted, so reduce many entries to few before.
  while (list.pace != nullptr && found > kPieceItems) {
    found = Narrow(found, mass, count, list.pace);
  }
  return SelectLast(entries, entries + found, mass, count);
}

void TypicalFilter::Keep(const SamplingParams& params, const Weigher& weigher, TokenList& list) {
  const uint64_t total = list.TotalWeight();
  const Uint128 largest = Measure(weigher, list, total);
  FillBins(list, largest);
  Entry last = FindLast(list, CeilFraction(params.typical_p, total), 1);
  if (params.top_k_ties == TiePolicy::kKeepAll) last.key = 0;
  if (params.min_tokens_to_keep > 1) {
    if (list.pace != nullptr) FillBins(list, largest);
    const size_t least = std::min<size_t>(params.min_tokens_to_keep, list.count);
    last = std::max(last, FindLast(list, 0, least));
  }
  list.RetainIf([&](size_t i) {
    return distances_[i] < last.distance ||
           (distances_[i] == last.distance && list.KeyOf(i) >= last.key);
  });
}

}  // namespace token_sampler::cpu
