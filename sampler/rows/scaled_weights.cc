#include "sampler/rows/scaled_weights.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "sampler/rows/paced.h"

namespace token_sampler {
namespace {

double WeightAt(const RowInput& row, size_t id) {
  double weight;
  std::memcpy(&weight, static_cast<const char*>(row.values) + id * sizeof(weight), sizeof(weight));
  return weight;
}

bool IsProper(double weight) { return weight > 0.0 && std::isfinite(weight); }

}  // namespace

std::optional<RowInput> ScaledWeights(const RowInput& row, const RowResult& failed,
                                      LargeVector<float>& values) {
  const bool by_rounding = failed.code == RowCode::kInfinite || failed.code == RowCode::kZeroSum ||
                           failed.code == RowCode::kTooFewTokens;
  if (!by_rounding || row.kind != InputKind::kWeights || row.dtype != DataType::kFloat64) {
    return std::nullopt;
  }
  ResizePaced(row.pace, static_cast<size_t>(row.vocab), values);
  double largest = 0.0;
  ForEachPaced(row.pace, values.size(), [&](size_t id) {
    const double weight = WeightAt(row, id);
    if (IsProper(weight)) largest = std::max(largest, weight);
  });
  int exponent = 0;
  std::frexp(largest, &exponent);
  ForEachPaced(row.pace, values.size(), [&](size_t id) {
    const double weight = WeightAt(row, id);
    // A weight above zero stays above zero. An invalid one stays as it was sent, for the report.
    values[id] = IsProper(weight) ? std::max(static_cast<float>(std::ldexp(weight, -exponent)),
                                             std::numeric_limits<float>::denorm_min())
                                  : static_cast<float>(weight);
  });
  RowInput scaled = row;
  scaled.values = values.data();
  scaled.dtype = DataType::kFloat32;
  return scaled;
}

}  // namespace token_sampler
