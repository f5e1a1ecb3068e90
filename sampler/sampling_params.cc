#include "sampler/sampling_params.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "sampler/philox.h"

namespace token_sampler {
namespace {

template <typename Value>
absl::Status OutOfRange(const ParamsLocation& location, absl::string_view field,
                        absl::string_view range, Value value) {
  const std::string row = location.row < 0 ? "" : absl::StrCat(" of row ", location.row);
  return absl::InvalidArgumentError(
      absl::StrCat(location.profile, ".", field, row, " must be ", range, ", got ", value));
}

// False for NaN.
bool InRange(double value, double low, double high) { return value >= low && value <= high; }

}  // namespace

absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location) {
  if (params.temperature != 0.0 && !InRange(params.temperature, 1e-6, 1e6)) {
    return OutOfRange(location, "temperature", "0 (greedy) or in [1e-6, 1e6]", params.temperature);
  }
  if (kind == InputKind::kWeights && params.temperature != 0.0 && params.temperature != 1.0) {
    return OutOfRange(location, "temperature", "0 or 1 with weights, to which no softmax applies",
                      params.temperature);
  }
  if (params.num_samples < 1 || params.num_samples > kMaxDraws) {
    return OutOfRange(location, "num_samples", absl::StrCat("in [1, ", kMaxDraws, "]"),
                      params.num_samples);
  }
  if (!params.replacement && int64_t{params.num_samples} > vocab) {
    return OutOfRange(location, "num_samples",
                      absl::StrCat("at most the ", vocab, " tokens of the row without replacement"),
                      params.num_samples);
  }
  if (!InRange(params.top_p, 0.0, 1.0)) {
    return OutOfRange(location, "top_p", "in [0, 1]", params.top_p);
  }
  if (!InRange(params.min_p, 0.0, 1.0)) {
    return OutOfRange(location, "min_p", "in [0, 1]", params.min_p);
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
