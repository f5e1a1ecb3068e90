#include "tests/conformance/random_batch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "sampler/data_type.h"

namespace token_sampler::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Bits() % uint64_t(bound)); }
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  bool OneIn(int64_t n) { return Below(n) == 0; }

  // About normal: the sum of twelve uniforms.
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }

  template <typename Value, size_t n>
  Value Of(const std::array<Value, n>& values) {
    return values[static_cast<size_t>(Below(n))];
  }

 private:
  uint64_t state_;
};

enum class Shape {
  kNormal,
  kShiftedNormal,
  kConstant,
  kTwoValues,
  kFewValues,
  kAscending,
  kDescending,
  kOneHuge,
  kPeaked,
  kPartlyMasked,
  kAllButOneMasked,
  kDenormal,
  kAnyFinite,
  kNearlyEqual,
  kZipf,
};
constexpr std::array kShapes = {Shape::kNormal,       Shape::kShiftedNormal,   Shape::kConstant,
                                Shape::kTwoValues,    Shape::kFewValues,       Shape::kAscending,
                                Shape::kDescending,   Shape::kOneHuge,         Shape::kPeaked,
                                Shape::kPartlyMasked, Shape::kAllButOneMasked, Shape::kDenormal,
                                Shape::kAnyFinite,    Shape::kNearlyEqual,     Shape::kZipf};

std::vector<float> MakeLogits(Shape shape, int64_t vocab, Random& random) {
  std::vector<float> values(static_cast<size_t>(vocab));
  const double sigma = random.Of(std::array{0.2, 1.0, 3.0, 5.0, 30.0});
  const double shift = random.Of(std::array{1e4, -1e4, 20.0, -1e30});
  const double level = random.Of(std::array{0.0, -0.0, 1.0, -7.25, 1e5, -1e-40});
  for (size_t i = 0; i < values.size(); ++i) {
    double value = sigma * random.Normal();
    switch (shape) {
      case Shape::kShiftedNormal:
        value += shift;
        break;
      case Shape::kConstant:
        value = random.OneIn(2) ? level : level + 0.0;
        break;
      case Shape::kTwoValues:
        value = random.OneIn(3) ? level : level - sigma;
        break;
      case Shape::kFewValues:
        value = std::floor(value);
        break;
      case Shape::kPartlyMasked:
        if (random.OneIn(2)) value = -kInfinity;
        break;
      case Shape::kAllButOneMasked:
        value = -kInfinity;
        break;
      case Shape::kDenormal:
        value *= 1e-39;
        break;
      case Shape::kAnyFinite: {
        const auto any = std::bit_cast<float>(static_cast<uint32_t>(random.Bits()));
        value = std::isfinite(any) ? double{any} : 0.0;
        break;
      }
      case Shape::kNearlyEqual:
        value = 3.0 + 1e-6 * random.Normal();
        break;
      case Shape::kZipf:
        value = -1.1 * std::log(static_cast<double>(i + 1));
        break;
      default:
        break;
    }
    values[i] = static_cast<float>(value);
  }
  const auto some = static_cast<size_t>(random.Below(vocab));
  if (shape == Shape::kAscending) std::sort(values.begin(), values.end());
  if (shape == Shape::kDescending) std::sort(values.begin(), values.end(), std::greater<>());
  if (shape == Shape::kOneHuge) values[some] = random.Of(std::array{3e38f, 100.0f, 1e4f, 12.0f});
  if (shape == Shape::kPeaked) values[some] = static_cast<float>(sigma * 8);
  if (shape == Shape::kAllButOneMasked) values[some] = static_cast<float>(sigma);
  return values;
}

// Logits made into plain weights: some 0, some huge, some below the smallest unit.
void MakeWeights(Random& random, std::vector<float>& values) {
  const double scale = random.Of(std::array{1.0, 1e-30, 1e20, 1e-44});
  const int64_t zero_in = random.Of(std::array<int64_t, 3>{1000, 5, 2});
  for (float& value : values) {
    const double weight = std::isfinite(value) ? std::exp(std::min(double{value}, 40.0)) : 0.0;
    value = random.OneIn(zero_in) ? 0.0f : static_cast<float>(weight * scale);
  }
  values[static_cast<size_t>(random.Below(static_cast<int64_t>(values.size())))] =
      static_cast<float>(scale);
}

// Spoils a value, or all of them.
void Spoil(InputKind kind, Random& random, std::vector<float>& values) {
  float& value = values[static_cast<size_t>(random.Below(static_cast<int64_t>(values.size())))];
  switch (random.Below(5)) {
    case 0:
      value = std::numeric_limits<float>::quiet_NaN();
      break;
    case 1:
      value = -std::numeric_limits<float>::quiet_NaN();
      break;
    case 2:
      value = kInfinity;
      break;
    case 3:
      value = kind == InputKind::kLogits ? std::numeric_limits<float>::quiet_NaN() : -1.5f;
      break;
    default:
      std::fill(values.begin(), values.end(), kind == InputKind::kLogits ? -kInfinity : -0.0f);
      break;
  }
}

// Truncates to fewer bits, which keeps NaN and infinities.
uint16_t NarrowBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits >> 16) | (std::isnan(value) ? 1u : 0u));
}

uint16_t NarrowFloat16(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  if (std::isinf(value)) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude >= 65504.0f) return static_cast<uint16_t>(sign | 0x7bff);
  if (magnitude < 0x1p-14f) {
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(magnitude * 0x1p24f));
  }
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  return static_cast<uint16_t>(sign | ((bits >> 13) - (112u << 10)));
}

template <typename Element>
void Append(Element element, std::vector<std::byte>& storage) {
  const size_t size = storage.size();
  storage.resize(size + sizeof(element));
  std::memcpy(storage.data() + size, &element, sizeof(element));
}

void Store(const std::vector<float>& values, DataType dtype, Random& random, RandomRow& row) {
  row.offset = static_cast<size_t>(random.OneIn(2) ? 0 : random.Below(16));
  row.storage.resize(row.offset);
  row.storage.reserve(row.offset + values.size() * ElementSize(dtype));
  for (const float value : values) {
    // Bits that float32 does not hold, so that rounding shows.
    const double more = dtype == DataType::kFloat64 ? 1e-9 * random.Uniform() : 0.0;
    AppendElement(double{value} * (1 + more), dtype, row.storage);
  }
}

SamplingParams MakeParams(InputKind kind, int64_t vocab, Random& random) {
  SamplingParams params;
  if (kind == InputKind::kLogits) {
    params.temperature = random.Of(std::array{1.0, 1.0, 0.7, 1.3, 0.05, 1e-6, 1e6, 0.0});
    if (random.OneIn(4)) params.temperature = std::exp(6 * random.Uniform() - 3);
  } else {
    params.temperature = random.OneIn(6) ? 0.0 : 1.0;
  }
  const auto any = static_cast<uint32_t>(1 + random.Below(vocab));
  if (random.OneIn(2)) {
    params.top_k = random.Of(std::array{1u, 2u, 50u, any, static_cast<uint32_t>(vocab),
                                        static_cast<uint32_t>(vocab + 5)});
  }
  if (random.OneIn(2)) {
    params.top_p = random.Of(std::array{0.9, 0.5, 0.0, 0.999999, 1e-300, random.Uniform()});
  }
  if (random.OneIn(3)) {
    params.min_p = random.Of(std::array{0.05, 1.0, 1e-12, 1e-5, random.Uniform()});
  }
  params.replacement = random.OneIn(3);
  if (random.OneIn(3)) {
    params.num_samples = random.OneIn(6) ? static_cast<uint32_t>(vocab)
                                         : std::min(any, static_cast<uint32_t>(1 + any % 9));
  }
  return params;
}

std::vector<uint32_t> MakeIds(int64_t vocab, Random& random) {
  std::vector<uint32_t> ids(static_cast<size_t>(random.Below(12)));
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random.Below(std::min<int64_t>(vocab, 9)));
  return ids;
}

// Stages whose state travels. They draw one token.
void AddStatefulStages(int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  params.num_samples = 1;
  if (random.OneIn(2)) {
    params.mirostat = Mirostat{.version = static_cast<uint32_t>(1 + random.Below(2)),
                               .tau = random.Of(std::array{0.5, 5.0}),
                               .eta = 0.1};
    if (random.OneIn(2)) row.state.mirostat_mu = 20 * random.Uniform() - 2;
  } else if (random.OneIn(2)) {
    params.adaptive_p = AdaptiveP{.target = random.Uniform(), .decay = 0.9};
    if (random.OneIn(2)) {
      row.state.adaptive_p_sum = random.Uniform();
      row.state.adaptive_p_weight = 1 + random.Uniform();
    }
  }
  if (random.OneIn(2)) {
    params.top_p_decay = TopPDecay{.decay = 0.9, .min = 0.1, .reset_ids = MakeIds(vocab, random)};
    if (random.OneIn(2)) row.state.top_p = random.Uniform();
  }
  if (random.OneIn(10)) row.state.top_p = 2.0;  // not accepted
  row.input.state = &row.state;
}

// The rarer filters, in any order of the stages.
void AddRareStages(InputKind kind, int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  params.stage_order = random.Of(std::array{kVllmOrder, kHfOrder, kLlamaCppOrder, kSglangOrder});
  if (random.OneIn(3)) params.top_k_ties = TiePolicy::kKeepAll;
  if (random.OneIn(3)) params.typical_p = random.Of(std::array{0.2, 0.9, 0.999});
  if (random.OneIn(3)) params.epsilon_cutoff = random.Of(std::array{1e-6, 0.001, 0.3});
  if (random.OneIn(3)) params.eta_cutoff = random.Of(std::array{1e-310, 1e-4, 0.1});
  if (random.OneIn(3)) params.p_less = true;
  if (random.OneIn(3)) {
    params.xtc_probability = random.Of(std::array{0.5, 1.0});
    params.xtc_threshold = random.Of(std::array{0.0, 0.01, 0.1});
  }
  if (random.OneIn(3)) params.min_tokens_to_keep = static_cast<uint32_t>(1 + random.Below(5));
  if (random.OneIn(4)) params.greedy_threshold = random.Of(std::array{0.1, 0.5, 1.0});
  if (random.OneIn(4)) {
    params.invalid_values =
        random.Of(std::array{InvalidValuePolicy::kSanitize, InvalidValuePolicy::kSanitizeUniform});
  }
  if (kind == InputKind::kLogits) {
    if (random.OneIn(3)) params.top_n_sigma = random.Of(std::array{0.5, 1.0, 3.0});
    if (random.OneIn(4)) {
      params.dynamic_temperature = DynamicTemperature{random.Of(std::array{0.0, 0.5, 1e6}), 1.5};
    }
    if (random.OneIn(4)) {
      params.temperature_schedule =
          TemperatureSchedule{random.OneIn(2) ? TemperatureSchedule::Kind::kLinear
                                              : TemperatureSchedule::Kind::kExponential,
                              2.0, 0.01, 10};
      row.input.key.step = static_cast<uint64_t>(random.Below(12));
    }
  }
  if (random.OneIn(3)) AddStatefulStages(vocab, random, row);
}

void AddAdjustments(InputKind kind, int64_t vocab, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  if (random.OneIn(4)) params.allowed_ids = MakeIds(vocab, random);
  if (random.OneIn(3)) params.banned_ids = MakeIds(vocab, random);
  if (random.OneIn(4)) {
    params.bad_words = {{static_cast<uint32_t>(random.Below(vocab))},
                        {0, static_cast<uint32_t>(random.Below(vocab))}};
  }
  if (random.OneIn(4)) params.no_repeat_ngram_size = static_cast<uint32_t>(random.Below(4));
  if (kind == InputKind::kLogits) {
    if (random.OneIn(3)) {
      params.logit_bias = {{static_cast<uint32_t>(random.Below(vocab)),
                            random.Of(std::array{2.5f, -100.0f, 3e38f, -kInfinity})}};
    }
    if (random.OneIn(3)) params.repetition_penalty = random.Of(std::array{1.3, 0.5, 1e-6});
    if (random.OneIn(3)) params.frequency_penalty = random.Of(std::array{0.7, -2.0});
    if (random.OneIn(3)) params.presence_penalty = random.Of(std::array{0.3, -1.0});
    if (random.OneIn(4)) params.penalty_last_n = static_cast<int32_t>(random.Below(6)) - 1;
    if (random.OneIn(4)) {
      params.dry = {.multiplier = 0.8,
                    .base = random.Of(std::array{1.0, 1.75, 1e6}),
                    .allowed_length = static_cast<uint32_t>(1 + random.Below(3)),
                    .last_n = static_cast<int32_t>(random.Below(12)) - 1,
                    .breakers = {{0}, {0, static_cast<uint32_t>(random.Below(vocab))}}};
    }
  }
  if (random.OneIn(3)) {
    row.bitmask.resize(static_cast<size_t>((vocab + 31) / 32 * 4));
    for (uint8_t& byte : row.bitmask) byte = static_cast<uint8_t>(random.Bits());
    row.input.bitmask = row.bitmask.data();
  }
  row.prompt_ids = MakeIds(vocab, random);
  row.output_ids = MakeIds(vocab, random);
  if (random.OneIn(20)) row.output_ids.push_back(static_cast<uint32_t>(vocab));
  row.history = {.prompt_ids = row.prompt_ids, .output_ids = row.output_ids};
  row.input.history = &row.history;
}

OutputOptions MakeOutputs(int64_t vocab, Random& random) {
  OutputOptions outputs;
  outputs.logprobs = random.OneIn(2);
  if (random.OneIn(2)) {
    outputs.top_logprobs = random.Of(
        std::array{1u, 5u, 20u, static_cast<uint32_t>(std::min<int64_t>(vocab + 1, 3000))});
  }
  outputs.logprob_mode = random.OneIn(2) ? LogprobMode::kRaw : LogprobMode::kProcessed;
  outputs.weights = random.OneIn(3);
  if (random.OneIn(6)) {
    outputs.ranks = vocab < 5000;  // the reference counts ranks token by token
    outputs.rank_mode = random.OneIn(2) ? RankMode::kGreater : RankMode::kGreaterEqual;
    outputs.kept_count = true;
    outputs.kept_set = random.OneIn(2);
    outputs.extremes = random.OneIn(2);
    outputs.entropy = random.OneIn(2);
    if (vocab < 2000 && random.OneIn(2)) outputs.gumbel_softmax = random.Of(std::array{0.1, 1.0});
  }
  return outputs;
}

std::unique_ptr<RandomRow> MakeRow(int64_t vocab, Random& random) {
  auto row = std::make_unique<RandomRow>();
  const InputKind kind = random.OneIn(5) ? InputKind::kWeights : InputKind::kLogits;
  const DataType dtype =
      random.Of(std::array{DataType::kFloat32, DataType::kFloat32, DataType::kFloat16,
                           DataType::kBFloat16, DataType::kFloat64});
  const Shape shape = random.Of(kShapes);
  std::vector<float> values = MakeLogits(shape, vocab, random);
  if (kind == InputKind::kWeights) MakeWeights(random, values);
  if (random.OneIn(15)) Spoil(kind, random, values);
  Store(values, dtype, random, *row);
  row->params = MakeParams(kind, vocab, random);
  row->outputs = MakeOutputs(vocab, random);
  const bool adjust = random.OneIn(4);
  if (adjust) AddAdjustments(kind, vocab, random, *row);

  RowInput& input = row->input;
  input.values = row->storage.data() + row->offset;
  input.dtype = dtype;
  input.kind = kind;
  input.vocab = vocab;
  input.params = &row->params;
  input.outputs = random.OneIn(2) ? nullptr : &row->outputs;
  input.key = {
      .seed = random.Bits(), .step = random.Bits(), .stream = static_cast<uint32_t>(random.Bits())};
  if (random.OneIn(5)) AddRareStages(kind, vocab, random, *row);

  std::ostringstream description;
  const SamplingParams& params = row->params;
  description << "vocab " << vocab << ' ' << DataTypeName(dtype)
              << (kind == InputKind::kLogits ? " logits" : " weights") << " shape "
              << static_cast<int>(shape) << " temperature " << params.temperature << " top_k "
              << params.top_k << " top_p " << params.top_p << " min_p " << params.min_p
              << " num_samples " << params.num_samples << " replacement " << params.replacement
              << " logprobs " << row->outputs.logprobs << " top_logprobs "
              << row->outputs.top_logprobs << " mode "
              << static_cast<int>(row->outputs.logprob_mode) << " outputs "
              << (input.outputs != nullptr) << " adjusted " << adjust;
  row->description = description.str();
  return row;
}

}  // namespace

void AppendElement(double value, DataType dtype, std::vector<std::byte>& storage) {
  switch (dtype) {
    case DataType::kFloat32:
      Append(static_cast<float>(value), storage);
      break;
    case DataType::kFloat16:
      Append(NarrowFloat16(static_cast<float>(value)), storage);
      break;
    case DataType::kBFloat16:
      Append(NarrowBFloat16(static_cast<float>(value)), storage);
      break;
    case DataType::kFloat64:
      Append(value, storage);
      break;
  }
}

std::vector<RowInput> RandomBatch::Inputs() const {
  std::vector<RowInput> inputs;
  inputs.reserve(rows.size());
  for (const auto& row : rows) inputs.push_back(row->input);
  return inputs;
}

RandomBatch MakeRandomBatch(uint64_t seed, size_t rows, int64_t max_vocab) {
  Random random(seed);
  RandomBatch batch;
  for (size_t i = 0; i < rows; ++i) {
    // Every length is as likely as every other on a logarithmic scale.
    const double exponent = random.Uniform() * std::log2(static_cast<double>(max_vocab));
    const auto vocab = static_cast<int64_t>(std::exp2(exponent));
    batch.rows.push_back(MakeRow(std::clamp<int64_t>(vocab, 1, max_vocab), random));
  }
  return batch;
}

RandomBatch MakeRandomRow(uint64_t seed, int64_t vocab) {
  Random random(seed);
  RandomBatch batch;
  batch.rows.push_back(MakeRow(vocab, random));
  return batch;
}

}  // namespace token_sampler::testing
