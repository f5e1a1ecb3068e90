#include "sampler/cpu/row_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/adjustments.h"
#include "sampler/elementary.h"
#include "sampler/philox.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows at least this long are worth sharing among threads.
constexpr int64_t kSliceTokens = int64_t{1} << 16;

void Fail(RowResult& result, RowCode code, std::string message) {
  result.Clear();
  result.code = code;
  result.message = std::move(message);
}

// The first value that no row may hold. False when there is none.
bool FailAtInvalidValue(const RowInput& row, RowResult& result) {
  const bool logits = row.kind == InputKind::kLogits;
  for (int64_t id = 0; id < row.vocab; ++id) {
    const float value = LoadAsFloat(row.values, row.dtype, id) + 0.0f;
    RowCode code = RowCode::kOk;
    if (std::isnan(value)) {
      code = RowCode::kNan;
    } else if (value == kInfinity || (value == -kInfinity && !logits)) {
      code = RowCode::kInfinite;
    } else if (value < 0 && !logits) {
      code = RowCode::kNegative;
    }
    if (code != RowCode::kOk) {
      Fail(result, code,
           absl::StrCat(logits ? "logit" : "weight", " of token ", id, " must be ",
                        logits ? "finite or -infinity" : "finite and >= 0", ", got ", value));
      return true;
    }
  }
  return false;
}

void FailTooFew(uint32_t wanted, uint64_t left, RowResult& result) {
  Fail(result, RowCode::kTooFewTokens,
       absl::StrCat("num_samples is ", wanted, " without replacement, but only ", left,
                    " tokens are left to draw from"));
}

}  // namespace

void RowSampler::SampleAdjusted(const RowInput& row, ThreadPool* pool, RowResult& result) {
  if (!Begin(row, pool, result)) return;
  if (std::string error = CheckHistory(row); !error.empty()) {
    Fail(result, RowCode::kInvalidInput, std::move(error));
    return;
  }
  float* values = adjusted_.Reserve(static_cast<size_t>(row.vocab));
  for (int64_t id = 0; id < row.vocab; ++id) {
    values[id] = LoadAsFloat(row.values, row.dtype, id) + 0.0f;
  }
  AdjustValues(row, absl::MakeSpan(values, static_cast<size_t>(row.vocab)));
  RowInput adjusted = row;
  adjusted.values = values;
  adjusted.dtype = DataType::kFloat32;
  Sample(adjusted, pool, result);
  if (result.code != RowCode::kOk && result.code != RowCode::kTooFewTokens) {
    result.message = absl::StrCat("after adjustments, ", result.message);
  }
}

bool RowSampler::Begin(const RowInput& row, ThreadPool* pool, RowResult& result) {
  result.Clear();
  row_ = &row;
  loops_ = &kernels_.For(row.dtype);
  pool_ = pool;
  return ScanRow(result);
}

void RowSampler::Sample(const RowInput& row, ThreadPool* pool, RowResult& result) {
  if (!Begin(row, pool, result)) return;

  if (row.params->temperature == 0.0) {
    if (SampleGreedy(result) && row.outputs != nullptr) WriteGreedyLogprobs(result);
    return;
  }
  const Weigher weigher = MakeWeigher(row.params->temperature);
  const Kept kept = Filter(weigher);
  if (!Draw(kept, weigher, result)) return;
  if (row.outputs != nullptr) WriteLogprobs(kept, weigher, result);
}

size_t RowSampler::SliceCount() const {
  if (pool_ == nullptr) return 1;
  return static_cast<size_t>(std::clamp<int64_t>(row_->vocab / kSliceTokens, 1, pool_->threads()));
}

void RowSampler::ForSlices(int64_t unit, absl::FunctionRef<void(size_t, int64_t, int64_t)> body) {
  const auto slices = static_cast<int64_t>(SliceCount());
  const int64_t units = (row_->vocab + unit - 1) / unit;
  const auto run = [&](size_t slice) {
    const auto i = static_cast<int64_t>(slice);
    body(slice, units * i / slices * unit, std::min(units * (i + 1) / slices * unit, row_->vocab));
  };
  if (slices == 1) {
    run(0);
  } else {
    pool_->ForEach(static_cast<size_t>(slices), run);
  }
}

bool RowSampler::ScanRow(RowResult& result) {
  const int64_t group = kernels_.group();
  columns_ = static_cast<size_t>((row_->vocab + group - 1) / group * kernels_.lanes);
  float* columns = column_max_.Reserve(columns_);
  slice_extents_.resize(SliceCount());
  ForSlices(group, [&](size_t slice, int64_t begin, int64_t end) {
    slice_extents_[slice] =
        loops_->scan(row_->values, begin, end, row_->kind == InputKind::kWeights,
                     columns + begin / group * kernels_.lanes);
  });
  Extent extent = slice_extents_[0];
  for (const Extent& part : slice_extents_) {
    extent.max = std::max(extent.max, part.max);
    extent.min = std::min(extent.min, part.min);
    extent.suspicious = extent.suspicious || part.suspicious;
  }
  const bool logits = row_->kind == InputKind::kLogits;
  if ((extent.suspicious || (!logits && extent.min < 0)) && FailAtInvalidValue(*row_, result)) {
    return false;
  }
  max_ = extent.max + 0.0f;
  if (logits && max_ == -kInfinity) {
    Fail(result, RowCode::kAllMasked, "every logit is -infinity: no token can be drawn");
    return false;
  }
  if (!logits && max_ == 0) {
    Fail(result, RowCode::kZeroSum, "every weight is 0: the sum must be above 0");
    return false;
  }
  floor_ = logits ? std::numeric_limits<float>::lowest() : std::numeric_limits<float>::denorm_min();
  return true;
}

Weigher RowSampler::MakeWeigher(double temperature) const {
  const int fraction_bits = FractionBits(row_->vocab);
  Weigher weigher;
  weigher.plain = row_->kind == InputKind::kWeights;
  if (weigher.plain) {
    weigher.plain_scale = PlainWeightScale(max_, fraction_bits);
    return weigher;
  }
  weigher.max = max_;
  weigher.scale = MakeWeightScale(temperature, fraction_bits);
  // Half an octave or more below the smallest weight that rounds to 1.
  weigher.lowest_difference = static_cast<float>(
      -(fraction_bits + 2) / (double{weigher.scale.high} + double{weigher.scale.low}));
  return weigher;
}

// ---- Greedy ----

bool RowSampler::SampleGreedy(RowResult& result) {
  const uint32_t wanted = row_->params->num_samples;
  if (wanted == 1 || row_->params->replacement) {
    const int64_t first = loops_->find_first(row_->values, row_->vocab, column_max_.data(), max_);
    result.token_ids.assign(wanted, static_cast<uint32_t>(first));
    return true;
  }
  CollectFirst(wanted, list_);
  if (wanted > list_.count) {
    FailTooFew(wanted, list_.count, result);
    return false;
  }
  uint64_t* keys = keys_.Reserve(list_.count);
  for (size_t i = 0; i < list_.count; ++i) keys[i] = OrderKey(list_.values[i] + 0.0f, list_.ids[i]);
  std::partial_sort(keys, keys + wanted, keys + list_.count, std::greater<>());
  for (uint32_t i = 0; i < wanted; ++i) result.token_ids.push_back(TokenOfOrderKey(keys[i]));
  return true;
}

// ---- Filters ----

void RowSampler::CollectAtLeast(float low, TokenList& list) {
  list.Reserve(static_cast<size_t>(row_->vocab));
  list.count = loops_->collect(row_->values, row_->vocab, column_max_.data(), {low, kInfinity},
                               SIZE_MAX, list.values.data(), list.ids.data());
}

void RowSampler::CollectFirst(uint64_t count, TokenList& list) {
  // `count` columns have a largest value of at least `low`, so as many tokens do.
  uint32_t low = OrderedBits(floor_);
  uint32_t high = OrderedBits(max_);
  const float* columns = column_max_.data();
  if (kernels_.count_at_least(columns, columns_, floor_) >= count) {
    const uint64_t enough = count + count / 4;
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      const uint64_t above = kernels_.count_at_least(columns, columns_, FromOrderedBits(middle));
      if (above >= count) {
        low = middle;
        if (above <= enough) break;
      } else {
        high = middle - 1;
      }
    }
  }
  CollectAtLeast(FromOrderedBits(low), list);
}

RowSampler::Kept RowSampler::Filter(const Weigher& weigher) {
  const SamplingParams& params = *row_->params;
  const bool by_top_k = params.top_k > 0 && int64_t{params.top_k} < row_->vocab;
  if (!by_top_k && params.min_p == 0 && params.top_p >= 1) return {false, WeighBlocks(weigher)};

  const uint64_t largest =
      weigher.plain ? PlainWeight(max_, weigher.plain_scale) : LogitWeight(0, weigher.scale);
  const uint64_t min_p_threshold = CeilFraction(params.min_p, largest);
  if (by_top_k) {
    CollectFirst(params.top_k, list_);
  } else {
    CollectAtLeast(MinPBound(min_p_threshold, weigher), list_);
  }
  kernels_.For(DataType::kFloat32)
      .weigh(list_.values.data(), 0, static_cast<int64_t>(list_.count), weigher,
             list_.weights.data());
  if (params.min_p > 0) KeepMinP(min_p_threshold);
  if (by_top_k) KeepTopK(params.top_k, list_);
  if (params.top_p < 1) KeepTopP(params.top_p);
  return {true, list_.TotalWeight()};
}

float RowSampler::MinPBound(uint64_t threshold, const Weigher& weigher) const {
  // Weights are within 2^-20 of their exact values, beside rounding to an integer.
  constexpr double kMargin = 0x1p-20;
  const double exact = (static_cast<double>(threshold) - 1) * (1 - kMargin);
  if (exact <= 0) return floor_;
  double bound;
  if (weigher.plain) {
    bound = exact / weigher.plain_scale;
  } else {
    const double octaves = std::log2(exact) - weigher.scale.fraction_bits;
    const double difference = octaves / (double{weigher.scale.high} + double{weigher.scale.low});
    bound = double{max_} + difference - kMargin * (std::abs(max_) - difference);
  }
  if (bound <= double{floor_}) return floor_;
  return std::min(std::nextafter(static_cast<float>(bound), -kInfinity), max_);
}

void RowSampler::KeepMinP(uint64_t threshold) {
  // The prefix ends before the first token of too small a weight; ties have the same weight.
  float last = -kInfinity;
  for (size_t i = 0; i < list_.count; ++i) {
    if (list_.weights[i] < threshold) last = std::max(last, list_.values[i]);
  }
  list_.Retain([last](float value, uint32_t) { return value > last; });
}

void RowSampler::KeepTopK(uint64_t count, TokenList& list) {
  if (count >= list.count) return;
  const Cutoff cutoff = cutoffs_.FindByCount(list, count);
  list.Retain([&cutoff](float value, uint32_t id) { return cutoff.Keeps(value, id); });
}

void RowSampler::KeepTopP(double top_p) {
  const uint64_t mass = std::max<uint64_t>(CeilFraction(top_p, list_.TotalWeight()), 1);
  const Cutoff cutoff = cutoffs_.FindByMass(list_, mass);
  list_.Retain([&cutoff](float value, uint32_t id) { return cutoff.Keeps(value, id); });
}

// ---- Draws ----

uint64_t RowSampler::WeighBlocks(const Weigher& weigher) {
  const auto blocks = static_cast<size_t>((row_->vocab + kBlock - 1) / kBlock);
  uint64_t* mass = block_mass_.Reserve(blocks);
  ForSlices(kBlock, [&](size_t, int64_t begin, int64_t end) {
    loops_->weigh_blocks(row_->values, begin, end, weigher, 0, mass + begin / kBlock, nullptr);
  });
  uint64_t total = 0;
  for (size_t i = 0; i < blocks; ++i) total += mass[i];
  return total;
}

bool RowSampler::Draw(const Kept& kept, const Weigher& weigher, RowResult& result) {
  if (kept.listed) return DrawFromList(kept.total, result);
  if (row_->params->num_samples > 1) {
    CollectAtLeast(floor_, list_);
    kernels_.For(DataType::kFloat32)
        .weigh(list_.values.data(), 0, static_cast<int64_t>(list_.count), weigher,
               list_.weights.data());
    return DrawFromList(kept.total, result);
  }
  uint64_t target = ScaleUniform(UniformBits(row_->key, RandomDomain::kToken, 0), kept.total);
  int64_t block = 0;
  while (block_mass_[static_cast<size_t>(block)] <= target) {
    target -= block_mass_[static_cast<size_t>(block++)];
  }
  uint64_t* weights = block_weights_.Reserve(kBlock);
  loops_->weigh(row_->values, block * kBlock, std::min((block + 1) * kBlock, row_->vocab), weigher,
                weights);
  int64_t token = block * kBlock;
  for (; *weights <= target; ++weights, ++token) target -= *weights;
  result.token_ids.push_back(static_cast<uint32_t>(token));
  return true;
}

bool RowSampler::DrawFromList(uint64_t total, RowResult& result) {
  const SamplingParams& params = *row_->params;
  uint64_t* weights = list_.weights.data();
  if (params.num_samples == 1) {
    uint64_t target = ScaleUniform(UniformBits(row_->key, RandomDomain::kToken, 0), total);
    size_t i = 0;
    for (; weights[i] <= target; ++i) target -= weights[i];
    result.token_ids.push_back(list_.ids[i]);
    return true;
  }
  if (!params.replacement) {
    const auto drawable = static_cast<uint64_t>(
        std::count_if(weights, weights + list_.count, [](uint64_t weight) { return weight > 0; }));
    if (params.num_samples > drawable) {
      FailTooFew(params.num_samples, drawable, result);
      return false;
    }
  }
  tree_.Build(weights, list_.count);
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    const Uint128 uniform = UniformBits(row_->key, RandomDomain::kToken, index);
    const size_t drawn = tree_.Find(ScaleUniform(uniform, tree_.total()));
    result.token_ids.push_back(list_.ids[drawn]);
    if (!params.replacement) tree_.Remove(drawn);
  }
  return true;
}

// ---- Log-probabilities ----

float RowSampler::Logprob(float value, const LogprobScale& scale) const {
  if (!scale.weigher.plain) {
    const double difference = double{value} - double{max_};
    return static_cast<float>(difference / scale.temperature - scale.log_total);
  }
  const uint64_t units = PlainWeight(value, scale.weigher.plain_scale);
  if (units == 0) return -kInfinity;
  const double weight = std::ldexp(static_cast<double>(units), -FractionBits(row_->vocab));
  return static_cast<float>(Log(weight) - scale.log_total);
}

void RowSampler::WriteTopLogprobs(TokenList& tokens, const LogprobScale& scale, RowResult& result) {
  const uint32_t wanted = row_->outputs->top_logprobs;
  KeepTopK(wanted, tokens);
  uint64_t* keys = keys_.Reserve(tokens.count);
  for (size_t i = 0; i < tokens.count; ++i) {
    keys[i] = OrderKey(tokens.values[i] + 0.0f, tokens.ids[i]);
  }
  std::sort(keys, keys + tokens.count, std::greater<>());
  for (size_t i = 0; i < tokens.count; ++i) {
    result.top_token_ids.push_back(TokenOfOrderKey(keys[i]));
    result.top_logprobs.push_back(
        Logprob(FromOrderedBits(static_cast<uint32_t>(keys[i] >> 32)), scale));
  }
}

void RowSampler::WriteLogprobs(const Kept& kept, const Weigher& weigher, RowResult& result) {
  const OutputOptions& outputs = *row_->outputs;
  if (!outputs.logprobs && outputs.top_logprobs == 0) return;
  const bool raw = outputs.logprob_mode == LogprobMode::kRaw;
  LogprobScale scale;
  scale.temperature = raw ? 1.0 : row_->params->temperature;
  scale.weigher = raw ? MakeWeigher(1.0) : weigher;
  uint64_t total = kept.total;
  if (raw && (kept.listed || row_->params->temperature != 1.0)) total = WeighBlocks(scale.weigher);
  scale.log_total = Log(std::ldexp(static_cast<double>(total), -FractionBits(row_->vocab)));
  if (outputs.logprobs) {
    for (const uint32_t id : result.token_ids) {
      result.logprobs.push_back(Logprob(ValueOf(id), scale));
    }
  }
  if (outputs.top_logprobs == 0) return;
  if (raw || !kept.listed) CollectFirst(outputs.top_logprobs, list_);
  WriteTopLogprobs(list_, scale, result);
}

void RowSampler::WriteGreedyLogprobs(RowResult& result) {
  const OutputOptions& outputs = *row_->outputs;
  if (!outputs.logprobs && outputs.top_logprobs == 0) return;
  const bool raw = outputs.logprob_mode == LogprobMode::kRaw;
  LogprobScale scale;
  scale.temperature = 1.0;
  scale.weigher = MakeWeigher(1.0);
  const uint64_t largest = scale.weigher.plain ? PlainWeight(max_, scale.weigher.plain_scale)
                                               : LogitWeight(0, scale.weigher.scale);
  const uint64_t total = raw ? WeighBlocks(scale.weigher) : largest;
  scale.log_total = Log(std::ldexp(static_cast<double>(total), -FractionBits(row_->vocab)));
  // Processed, the first token of the order has all the probability.
  const auto first = static_cast<uint32_t>(
      loops_->find_first(row_->values, row_->vocab, column_max_.data(), max_));
  if (outputs.logprobs) {
    for (const uint32_t id : result.token_ids) {
      result.logprobs.push_back(raw || id == first ? Logprob(ValueOf(id), scale) : -kInfinity);
    }
  }
  if (outputs.top_logprobs == 0) return;
  CollectFirst(raw ? outputs.top_logprobs : 1, list_);
  if (!raw) KeepTopK(1, list_);
  WriteTopLogprobs(list_, scale, result);
}

}  // namespace token_sampler::cpu
