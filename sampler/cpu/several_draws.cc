#include "sampler/cpu/several_draws.h"

#include <algorithm>

#include "sampler/philox.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler::cpu {

void SeveralDraws::Draw(const RowInput& row, const TokenList& survivors, const Weigher& weigher,
                        RowResult& result) {
  const SamplingParams& params = *row.params;
  const uint32_t* ids = survivors.ids.data();
  // Drawing changes weights.
  std::copy_n(survivors.weights.data(), survivors.count, weights_.Reserve(survivors.count));
  tree_.Build(weights_.data(), survivors.count);
  bool rest_is_listed = false;
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    if (tree_.total() == 0) {
      if (!rest_is_listed) ListRest(survivors);
      rest_is_listed = true;
      TakeRest(weigher);
      ids = ids_.data();
    }
    const Uint128 uniform = UniformBits(row.key, RandomDomain::kToken, index);
    const size_t drawn = tree_.Find(ScaleUniform(uniform, tree_.total()));
    result.token_ids.push_back(ids[drawn]);
    if (!params.replacement) tree_.Remove(drawn);
  }
}

void SeveralDraws::ListRest(const TokenList& survivors) {
  rest_.clear();
  for (size_t i = 0; i < survivors.count; ++i) {
    if (survivors.weights[i] == 0) rest_.push_back(survivors.KeyOf(i));
  }
  std::sort(rest_.begin(), rest_.end());
}

void SeveralDraws::TakeRest(const Weigher& weigher) {
  const auto value_of = [](uint64_t key) {
    return FromOrderedBits(static_cast<uint32_t>(key >> 32));
  };
  Weigher anew = weigher;
  anew.max = value_of(rest_.back());
  anew.plain_scale = PlainWeightScale(anew.max, weigher.scale.fraction_bits);
  const auto has_none_from = [&anew](float value) {
    return anew.plain ? anew.WeightOf(value) == 0 : value - anew.max < anew.lowest_difference;
  };
  taken_.clear();
  // Near the smallest weight a token may have none although one after it does. Those stay in rest_,
  // where the next call finds them first.
  auto end = rest_.end();
  auto passed_over = rest_.end();
  while (end != rest_.begin() && !has_none_from(value_of(*(end - 1)))) {
    const uint64_t key = *--end;
    const uint64_t weight = anew.WeightOf(value_of(key));
    if (weight == 0) {
      *--passed_over = key;
    } else {
      taken_.push_back({TokenOfOrderKey(key), weight});
    }
  }
  rest_.erase(end, passed_over);
  std::sort(taken_.begin(), taken_.end(),
            [](const WeighedToken& a, const WeighedToken& b) { return a.id < b.id; });
  uint32_t* ids = ids_.Reserve(taken_.size());
  uint64_t* weights = weights_.Reserve(taken_.size());
  for (size_t i = 0; i < taken_.size(); ++i) {
    ids[i] = taken_[i].id;
    weights[i] = taken_[i].weight;
  }
  tree_.Build(weights, taken_.size());
}

}  // namespace token_sampler::cpu
