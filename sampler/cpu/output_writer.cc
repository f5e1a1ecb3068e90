#include "sampler/cpu/output_writer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "sampler/cpu/list_sums.h"
#include "sampler/elementary.h"
#include "sampler/survivors.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"

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

bool WantsDistribution(const OutputOptions& outputs) {
  return outputs.logprobs || outputs.top_logprobs > 0 || outputs.ranks || outputs.extremes ||
         outputs.entropy;
}

uint64_t OutputWriter::CountAtLeast(float value, const Distribution& distribution) {
  const Cutoff& last = distribution.last;
  if (value > last.value) return distribution.row->CountAtLeast(value);
  const float above = std::nextafter(last.value, kInfinity);
  distribution.row->Collect({last.value, above}, list_);
  const uint32_t* end = std::upper_bound(list_.ids.data(), list_.ids.data() + list_.count, last.id);
  return distribution.row->CountAtLeast(above) + static_cast<uint64_t>(end - list_.ids.data());
}

void OutputWriter::WriteTopLogprobs(uint32_t wanted, const Distribution& distribution,
                                    double log_total, RowResult& result) {
  distribution.row->CollectFirst(wanted, list_);
  list_.Retain(distribution.last);
  if (wanted < list_.count) list_.Retain(cutoffs_.FindByCount(list_, wanted));
  uint64_t* keys = keys_.Reserve(list_.count);
  for (size_t i = 0; i < list_.count; ++i) keys[i] = list_.KeyOf(i);
  std::sort(keys, keys + list_.count, std::greater<>());
  for (size_t i = 0; i < list_.count; ++i) {
    const float value = FromOrderedBits(static_cast<uint32_t>(keys[i] >> 32));
    result.top_token_ids.push_back(TokenOfOrderKey(keys[i]));
    result.top_logprobs.push_back(Logprob(value, distribution, log_total));
  }
}

void OutputWriter::WriteDistribution(const OutputOptions& outputs, const Distribution& distribution,
                                     RowResult& result) {
  const double log_total = LogOf(distribution.total, distribution);
  for (const uint32_t id : result.token_ids) {
    const float value = distribution.row->ValueOf(id);
    const bool contained = distribution.last.Keeps(value, id);
    if (outputs.logprobs) {
      result.logprobs.push_back(contained ? Logprob(value, distribution, log_total) : -kInfinity);
    }
    if (outputs.ranks) {
      uint64_t rank = 0;
      if (contained && outputs.rank_mode == RankMode::kGreater) {
        rank = 1 + distribution.row->CountAtLeast(std::nextafter(value, kInfinity));
      } else if (contained) {
        rank = CountAtLeast(value, distribution);
      }
      result.ranks.push_back(static_cast<uint32_t>(rank));
    }
  }
  if (outputs.top_logprobs > 0) {
    WriteTopLogprobs(outputs.top_logprobs, distribution, log_total, result);
  }
  if (outputs.extremes || outputs.entropy) WriteSpread(outputs, distribution, result);
}

void OutputWriter::WriteSpread(const OutputOptions& outputs, const Distribution& distribution,
                               RowResult& result) {
  distribution.row->Collect({distribution.last.value, kInfinity}, list_);
  list_.Retain(distribution.last);
  list_.Weigh(distribution.weigher, kernels_);
  if (outputs.entropy) {
    result.entropy = Entropy(SumLog2Weights(list_, distribution.weigher), distribution.total,
                             FractionBits(distribution.row->input().vocab));
  }
  if (!outputs.extremes) return;
  uint64_t largest = 0;
  uint64_t smallest = std::numeric_limits<uint64_t>::max();
  for (size_t i = 0; i < list_.count; ++i) {
    const uint64_t weight = list_.weights[i];
    largest = std::max(largest, weight);
    if (weight > 0) smallest = std::min(smallest, weight);
  }
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
  kept.row->Collect({kept.last.value, kInfinity}, list_);
  list_.Retain(kept.last);
  for (size_t i = 0; i < list_.count; ++i) {
    result.kept_token_ids.push_back(list_.ids[i]);
    result.kept_logprobs.push_back(Logprob(list_.values[i] + 0.0f, kept, log_total));
  }
}

}  // namespace token_sampler::cpu
