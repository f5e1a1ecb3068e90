#include "tests/conformance/random_batch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "sampler/arithmetic/data_type.h"
#include "tests/conformance/random.h"
#include "tests/conformance/random_params.h"

namespace token_sampler::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

// Turns logits into plain weights: some 0, some huge, some below the smallest unit.
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

// Makes a value, or all values, invalid or impossible.
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

// Truncates to bfloat16, which keeps NaN and infinities.
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
    // Add bits that float32 does not have, so that rounding has an effect.
    const double more = dtype == DataType::kFloat64 ? 1e-9 * random.Uniform() : 0.0;
    AppendElement(double{value} * (1 + more), dtype, row.storage);
  }
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
  row->input.key = {
      .seed = random.Bits(), .step = random.Bits(), .stream = static_cast<uint32_t>(random.Bits())};
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
    // Lengths are uniform on a logarithmic scale.
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
