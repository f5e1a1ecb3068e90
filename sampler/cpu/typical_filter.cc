#include "sampler/cpu/typical_filter.h"

#include <algorithm>

#include "sampler/cpu/list_sums.h"
#include "sampler/token_order.h"

namespace token_sampler::cpu {
namespace {

// The last of the shortest sorted prefix that has at least `count` candidates and reaches `mass`,
// or of all of them. Moves candidates about.
template <class Candidate>
Candidate LastKept(Candidate* begin, Candidate* end, uint64_t mass, size_t count) {
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

void TypicalFilter::Keep(const SamplingParams& params, const Weigher& weigher, TokenList& list) {
  const uint64_t total = list.TotalWeight();
  const Int128 mean = SumLog2Weights(list, weigher);  // times total
  Candidate* candidates = candidates_.Reserve(list.count);
  Uint128* distances = distances_.Reserve(list.count);
  for (size_t i = 0; i < list.count; ++i) {
    distances[i] = ~Uint128{0};
    if (list.weights[i] > 0) {
      const Int128 difference = Int128{Log2Weight(list, i, weigher)} * total - mean;
      distances[i] = static_cast<Uint128>(difference < 0 ? -difference : difference);
    }
    candidates[i] = {distances[i], OrderKey(list.values[i] + 0.0f, list.ids[i]), list.weights[i]};
  }
  const Candidate last = LastKept(candidates, candidates + list.count,
                                  CeilFraction(params.typical_p, total), params.min_tokens_to_keep);
  const bool ties = params.top_k_ties == TiePolicy::kKeepAll;
  size_t kept = 0;
  for (size_t i = 0; i < list.count; ++i) {
    const bool keeps = distances[i] < last.distance ||
                       (distances[i] == last.distance &&
                        (ties || OrderKey(list.values[i] + 0.0f, list.ids[i]) >= last.key));
    list.values[kept] = list.values[i];
    list.ids[kept] = list.ids[i];
    list.weights[kept] = list.weights[i];
    kept += keeps ? 1 : 0;
  }
  list.count = kept;
}

}  // namespace token_sampler::cpu
