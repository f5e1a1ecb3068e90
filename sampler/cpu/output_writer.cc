#include "sampler/cpu/output_writer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/cpu/filter/list_sums.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/paced.h"
#include "sampler/stages/log_weight.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double LogOf(uint64_t weight, const Distribution& distribution) {
  const int fraction_bits = FractionBits(distribution.row->input().vocab);
  return Log(std::ldexp(static_cast<double>(weight), -fraction_bits));
}

float Logprob(float value, const Distribution& distribution, double log_total) {
  const Weigher& weigher = distribution.weigher;
  if (!weigher.plain) {
    const double difference = double{value} - double{weigher.max};
    return static_cast<float>(difference / distribution.temperature - log_total);
  }
  const uint64_t weight = PlainWeight(value, weigher.plain_scale);
  return weight == 0 ? -kInfinity : static_cast<float>(LogOf(weight, distribution) - log_total);
}

}  // namespace

uint64_t OutputWriter::CountAtLeast(float value, const Distribution& distribution) {
  const Cutoff& last = distribution.last;
  if (value > last.value) return distribution.row->CountAtLeast(value);
  const float above = std::nextafter(last.value, kInfinity);
  distribution.row->Collect({last.value, above}, list_);
  const uint32_t* end = std::upper_bound(list_.ids.data(), list_.ids.data() + list_.count, last.id);
  return distribution.row->CountAtLeast(above) + static_cast<uint64_t>(end - list_.ids.data());
}

void OutputWriter::ListAll(const Distribution& distribution) {
  distribution.row->Collect({distribution.last.value, kInfinity}, list_);
  list_.Retain(distribution.last, kernels_);
}

void OutputWriter::SortKeys() {
  keys_.clear();
  keys_.reserve(list_.count);
  // The first token of the order has the greatest key, so sort by the complement.
  list_.ForEach([&](size_t i) { keys_.push_back(~list_.KeyOf(i)); });
  // The lower halves of the keys, the ids, are in order already.
  SortByKey<4>(
      list_.pace, keys_.data(), keys_.size(), [](uint64_t key) { return key; }, sorted_keys_);
  ForEachPaced(list_.pace, keys_.size(), [&](size_t i) { keys_[i] = ~keys_[i]; });
}

void OutputWriter::WriteTopLogprobs(uint32_t wanted, const Distribution& distribution,
                                    double log_total, RowResult& result) {
  distribution.row->CollectFirst(wanted, list_);
  list_.Retain(distribution.last, kernels_);
  if (wanted < list_.count) list_.Retain(cutoffs_.FindByCount(list_, wanted), kernels_);
  SortKeys();
  result.top_token_ids.reserve(keys_.size());
  result.top_logprobs.reserve(keys_.size());
  ForEachPaced(list_.pace, keys_.size(), [&](size_t i) {
    const float value = FromOrderedBits(static_cast<uint32_t>(keys_[i] >> 32));
    result.top_token_ids.push_back(TokenOfOrderKey(keys_[i]));
    result.top_logprobs.push_back(Logprob(value, distribution, log_total));
  });
}

uint32_t OutputWriter::RankOf(uint32_t id, RankMode mode, const Distribution& distribution) {
  const float value = distribution.row->ValueOf(id);
  if (!distribution.last.Keeps(value, id)) return 0;
  return static_cast<uint32_t>(
      mode == RankMode::kGreater
          ? 1 + distribution.row->CountAtLeast(std::nextafter(value, kInfinity))
          : CountAtLeast(value, distribution));
}

void OutputWriter::RankAll(RankMode mode, const Distribution& distribution) {
  ListAll(distribution);
  SortKeys();
  Pace* const pace = list_.pace;
  const auto vocab = static_cast<size_t>(distribution.row->input().vocab);
  ResizePaced(pace, vocab, ranks_);
  InPieces(pace, vocab, size_t{kListPiece}, [&](size_t begin, size_t end) {
    std::fill(ranks_.data() + begin, ranks_.data() + end, 0u);
  });
  const auto same = [this](size_t a, size_t b) { return keys_[a] >> 32 == keys_[b] >> 32; };
  size_t end_of_ties = 0;
  uint32_t rank = 0;
  ForEachScattered(pace, keys_.size(), [&](size_t i) {
    if (i == end_of_ties) {
      while (end_of_ties < keys_.size() && same(i, end_of_ties)) {
        if (++end_of_ties % kPieceItems == 0) Ask(pace);
      }
      rank = static_cast<uint32_t>(mode == RankMode::kGreater ? 1 + i : end_of_ties);
    }
    ranks_[TokenOfOrderKey(keys_[i])] = rank;
  });
}

void OutputWriter::WriteRanks(RankMode mode, const Distribution& distribution, RowResult& result) {
  // For more draws than this, one sort of the row is faster than a pass over it per draw.
  constexpr size_t kFewDraws = 64;
  const std::vector<uint32_t>& ids = result.token_ids;
  result.ranks.reserve(ids.size());
  if (ids.size() <= kFewDraws) {
    for (const uint32_t id : ids) result.ranks.push_back(RankOf(id, mode, distribution));
    return;
  }
  RankAll(mode, distribution);
  ForEachScattered(distribution.row->input().pace, ids.size(),
                   [&](size_t i) { result.ranks.push_back(ranks_[ids[i]]); });
}

void OutputWriter::WriteDistribution(const OutputOptions& outputs, const Distribution& distribution,
                                     RowResult& result) {
  const double log_total = LogOf(distribution.total, distribution);
  if (outputs.logprobs) {
    result.logprobs.reserve(result.token_ids.size());
    ForEachScattered(distribution.row->input().pace, result.token_ids.size(), [&](size_t i) {
      const uint32_t id = result.token_ids[i];
      const float value = distribution.row->ValueOf(id);
      result.logprobs.push_back(distribution.last.Keeps(value, id)
                                    ? Logprob(value, distribution, log_total)
                                    : -kInfinity);
    });
  }
  if (outputs.ranks) WriteRanks(outputs.rank_mode, distribution, result);
  if (outputs.top_logprobs > 0) {
    WriteTopLogprobs(outputs.top_logprobs, distribution, log_total, result);
  }
  if (outputs.extremes || outputs.entropy) WriteSpread(outputs, distribution, result);
}

void OutputWriter::WriteSpread(const OutputOptions& outputs, const Distribution& distribution,
                               RowResult& result) {
  ListAll(distribution);
  list_.Weigh(distribution.weigher, kernels_);
  if (outputs.entropy) {
    result.entropy = Entropy(SumLog2Weights(list_, distribution.weigher), distribution.total,
                             FractionBits(distribution.row->input().vocab));
  }
  if (!outputs.extremes) return;
  uint64_t largest = 0;
  uint64_t smallest = std::numeric_limits<uint64_t>::max();
  list_.ForEach([&](size_t i) {
    const uint64_t weight = list_.weights[i];
    largest = std::max(largest, weight);
    if (weight > 0) smallest = std::min(smallest, weight);
  });
  const auto total = static_cast<double>(distribution.total);
  result.max_probability = static_cast<double>(largest) / total;
  result.min_probability = static_cast<double>(smallest) / total;
}

void OutputWriter::WriteKeptSet(const OutputOptions& outputs, const Distribution& kept,
                                RowResult& result) {
  if (outputs.kept_count) {
    result.kept_count = static_cast<uint32_t>(CountAtLeast(kept.last.value, kept));
  }
  if (!outputs.kept_set) return;
  const double log_total = LogOf(kept.total, kept);
  ListAll(kept);
  result.kept_token_ids.reserve(list_.count);
  result.kept_logprobs.reserve(list_.count);
  list_.ForEach([&](size_t i) {
    result.kept_token_ids.push_back(list_.ids[i]);
    result.kept_logprobs.push_back(Logprob(list_.values[i] + 0.0f, kept, log_total));
  });
}

}  // namespace token_sampler::cpu
