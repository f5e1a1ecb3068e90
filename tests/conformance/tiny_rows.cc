#include "tests/conformance/tiny_rows.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "tests/conformance/random.h"
#include "tests/conformance/random_params.h"

namespace token_sampler::testing {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

// Logits whose distances tie, and some beyond the smallest weight.
constexpr std::array kLogits = {0.0, 1.0, -1.0, 2.0, 0.5, -3.0, -32.0, -40.0, -60.0, -100.0, 1e4};
// Weights that differ by powers of two, have equal sums, or are beyond float32.
constexpr std::array kWeights = {1.0,   2.0,   3.0,  20.0,   0.5,    1e-14,
                                 1e-30, 1e-44, 1e30, 1e-310, 2e-310, 1e300};

std::vector<double> MakeValues(InputKind kind, Random& random) {
  std::vector<double> palette(static_cast<size_t>(1 + random.Below(4)));
  for (double& value : palette) {
    value = kind == InputKind::kLogits ? random.Of(kLogits) : random.Of(kWeights);
  }
  const int64_t impossible_in = random.Of(std::array<int64_t, 4>{2, 3, 5, 1000});
  std::vector<double> values(static_cast<size_t>(1 + random.Below(8)));
  for (double& value : values) {
    value = palette[static_cast<size_t>(random.Below(static_cast<int64_t>(palette.size())))];
    if (random.OneIn(impossible_in)) value = kind == InputKind::kLogits ? kMasked : 0.0;
  }
  return values;
}

// Returns a number from `count` - 2 to `count` + 2, but at least `least`.
uint32_t Around(int64_t count, int64_t least, Random& random) {
  return static_cast<uint32_t>(std::max(least, count - 2 + random.Below(5)));
}

// Sets the integer parameters near the number of survivors, so that filters keep about as many
// tokens as there are.
void Fit(int64_t survivors, Random& random, RandomRow& row) {
  SamplingParams& params = row.params;
  const auto vocab = static_cast<uint32_t>(row.input.vocab);
  if (params.top_k != 0) params.top_k = Around(survivors, 1, random);
  if (random.OneIn(2)) params.min_tokens_to_keep = Around(survivors, 1, random);
  if (!params.stateful() && random.OneIn(2)) {
    params.num_samples = Around(survivors, 1, random);
    if (!params.replacement) params.num_samples = std::min(params.num_samples, vocab);
  }
  if (params.typical_p != 1.0) params.typical_p = random.Of(std::array{0.01, 0.25, 0.5, 0.9});
  if (params.top_p != 1.0) params.top_p = random.Of(std::array{0.0, 0.25, 0.5, 0.75});
}

std::unique_ptr<RandomRow> MakeTinyRow(Random& random) {
  auto row = std::make_unique<RandomRow>();
  const InputKind kind = random.OneIn(3) ? InputKind::kWeights : InputKind::kLogits;
  const DataType dtype = random.Of(
      std::array{DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16, DataType::kFloat64});
  const std::vector<double> values = MakeValues(kind, random);
  for (const double value : values) AppendElement(value, dtype, row->storage);
  const auto vocab = static_cast<int64_t>(values.size());
  RowInput& input = row->input;
  input.values = row->storage.data();
  input.dtype = dtype;
  input.kind = kind;
  input.vocab = vocab;
  input.key = {.seed = random.Bits(), .step = random.Bits()};
  input.params = &row->params;
  row->params = MakeParams(kind, vocab, random);
  row->outputs = MakeOutputs(vocab, random);
  if (random.OneIn(2)) input.outputs = &row->outputs;
  if (random.OneIn(4)) AddAdjustments(kind, vocab, random, *row);
  if (!random.OneIn(3)) AddRareStages(kind, vocab, random, *row);
  Fit(std::count_if(values.begin(), values.end(),
                    [](double value) { return value != kMasked && value != 0.0; }),
      random, *row);

  const SamplingParams& params = row->params;
  std::ostringstream description;
  description << DataTypeName(dtype) << (kind == InputKind::kLogits ? " logits" : " weights");
  for (const double value : values) description << ' ' << value;
  description << " temperature " << params.temperature << " top_k " << params.top_k << " top_p "
              << params.top_p << " min_p " << params.min_p << " typical_p " << params.typical_p
              << " min_tokens_to_keep " << params.min_tokens_to_keep << " num_samples "
              << params.num_samples << " replacement " << params.replacement << " seed "
              << input.key.seed << " step " << input.key.step;
  row->description = description.str();
  return row;
}

}  // namespace

RandomBatch MakeTinyRows(uint64_t seed, size_t rows) {
  Random random(seed);
  RandomBatch batch;
  for (size_t i = 0; i < rows; ++i) batch.rows.push_back(MakeTinyRow(random));
  return batch;
}

}  // namespace token_sampler::testing
