#include "sampler/cpu/several_draws.h"

#include <algorithm>
#include <cstddef>

#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/paced.h"

namespace token_sampler::cpu {
namespace {

// Draws between two calls of the row's pace. A draw takes some 400 ns if little of the tree is in
// the cache.
constexpr size_t kPieceDraws = 2048;

}  // namespace

void SeveralDraws::Draw(const RowInput& row, const TokenList& survivors, const Weigher& weigher,
                        RowResult& result) {
  const SamplingParams& params = *row.params;
  const uint32_t* ids = survivors.ids.data();
  // Draws change weights, so they need a copy.
  const uint64_t* const weights = survivors.weights.data();
  uint64_t* const own = weights_.Reserve(survivors.count);
  InPieces(row.pace, survivors.count, size_t{kListPiece}, [&](size_t begin, size_t end) {
    std::copy(weights + begin, weights + end, own + begin);
  });
  tree_.Build(own, survivors.count, row.pace);
  result.token_ids.reserve(params.num_samples);
  bool rest_is_listed = false;
  InPieces(row.pace, params.num_samples, kPieceDraws, [&](size_t begin, size_t end) {
    for (size_t index = begin; index < end; ++index) {
      if (tree_.total() == 0) {
        if (!rest_is_listed) ListRest(survivors);
        rest_is_listed = true;
        TakeRest(weigher, row.pace);
        ids = ids_.data();
      }
      const Uint128 uniform =
          UniformBits(row.key, RandomDomain::kToken, static_cast<uint32_t>(index));
      const size_t drawn = tree_.Find(ScaleUniform(uniform, tree_.total()));
      result.token_ids.push_back(ids[drawn]);
      if (!params.replacement) tree_.Remove(drawn);
    }
  });
}

void SeveralDraws::ListRest(const TokenList& survivors) {
  rest_.clear();
  rest_.reserve(survivors.count);  // growth would copy much
  survivors.ForEach([&](size_t i) {
    if (survivors.weights[i] == 0) rest_.push_back(survivors.KeyOf(i));
  });
  SortByKey(
      survivors.pace, rest_.data(), rest_.size(), [](uint64_t key) { return key; }, sorted_rest_);
}

void SeveralDraws::TakeRest(const Weigher& weigher, Pace* pace) {
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
  taken_.reserve(rest_.size());
  // Near the least weight a token may have weight 0 although a later one does not. Such tokens stay
  // in rest_, where the next call finds them first.
  auto end = rest_.end();
  auto passed_over = rest_.end();
  while (end != rest_.begin() && !has_none_from(value_of(*(end - 1)))) {
    if ((end - rest_.begin()) % std::ptrdiff_t{kPieceItems} == 0) Ask(pace);
    const uint64_t key = *--end;
    const uint64_t weight = anew.WeightOf(value_of(key));
    if (weight == 0) {
      *--passed_over = key;
    } else {
      taken_.push_back({TokenOfOrderKey(key), weight});
    }
  }
  rest_.erase(end, passed_over);
  SortByKey(
      pace, taken_.data(), taken_.size(), [](const WeighedToken& token) { return token.id; },
      sorted_taken_);
  uint32_t* ids = ids_.Reserve(taken_.size());
  uint64_t* weights = weights_.Reserve(taken_.size());
  ForEachPaced(pace, taken_.size(), [&](size_t i) {
    ids[i] = taken_[i].id;
    weights[i] = taken_[i].weight;
  });
  tree_.Build(weights, taken_.size(), pace);
}

}  // namespace token_sampler::cpu
