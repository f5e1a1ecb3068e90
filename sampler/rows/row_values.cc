#include "sampler/rows/row_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/rows/adjustments.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"
#include "sampler/rows/token_set.h"

namespace token_sampler {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

bool IsLogits(InputKind kind) { return kind == InputKind::kLogits; }

RowCode CodeOfValue(InputKind kind, float value) {
  if (std::isnan(value)) return RowCode::kNan;
  if (value == kInfinity || (value == -kInfinity && !IsLogits(kind))) return RowCode::kInfinite;
  if (value < 0 && !IsLogits(kind)) return RowCode::kNegative;
  return RowCode::kOk;
}

// Fails the row if the value of token `id` is invalid. False if it is valid.
bool FailAt(InputKind kind, uint32_t id, float value, RowResult& result) {
  const RowCode code = CodeOfValue(kind, value);
  if (code == RowCode::kOk) return false;
  FailRow(code,
          absl::StrCat(IsLogits(kind) ? "logit" : "weight", " of token ", id, " must be ",
                       IsLogits(kind) ? "finite or -infinity" : "finite and >= 0", ", got ", value),
          result);
  return true;
}

float Repaired(InputKind kind, float value) {
  if (value == kInfinity) return kLargest;
  return CodeOfValue(kind, value) == RowCode::kOk ? value : ImpossibleValue(kind);
}

bool HasDrawable(const RowInput& row, const LargeVector<float>& values) {
  const float impossible = ImpossibleValue(row.kind);
  for (size_t id = 0; id < values.size(); ++id) {
    if (values[id] != impossible) return true;
    if (id % kPieceItems == kPieceItems - 1) Ask(row.pace);
  }
  return false;
}

// Repairs invalid values if the policy says so. False if the row failed at one.
bool MakeValid(const RowInput& row, LargeVector<float>& values, RowResult& result) {
  const bool repair = row.params->invalid_values != InvalidValuePolicy::kFail;
  for (uint32_t id = 0; id < values.size(); ++id) {
    if (id % kPieceItems == kPieceItems - 1) Ask(row.pace);
    if (CodeOfValue(row.kind, values[id]) == RowCode::kOk) continue;
    if (!repair) return !FailAt(row.kind, id, values[id], result);
    if (result.code == RowCode::kOk) {
      result.code = RowCode::kSanitized;
      result.message =
          absl::StrCat("values were repaired, first that of token ", id, ", ", values[id]);
    }
    values[id] = Repaired(row.kind, values[id]);
  }
  return true;
}

// Adjusts received values, or uniform ones that replace them.
void AdjustValues(const RowInput& row, LargeVector<float>& values) {
  TokenSet allowed;
  BanUnlisted(row, allowed, absl::MakeSpan(values), row.pace);
  RowInput before = row;
  before.values = values.data();
  before.dtype = DataType::kFloat32;
  TokenAdjuster adjuster;
  const ChangedTokens& changed = adjuster.Adjust(row, before);
  const LargeVector<uint32_t>& ids = changed.ids();
  ForEachScattered(row.pace, ids.size(),
                   [&](size_t i) { values[ids[i]] = changed.ValueOf(ids[i]); });
}

// values = from.
void CopyPaced(Pace* pace, const LargeVector<float>& from, LargeVector<float>& values) {
  values.clear();
  values.reserve(from.size());
  InPieces(pace, from.size(), kPieceItems * 4, [&](size_t begin, size_t end) {
    values.insert(values.end(), from.data() + begin, from.data() + end);
  });
}

// Makes every token that adjustments do not ban equally likely.
void MakeUniform(const RowInput& row, RowValues& values) {
  const float likely = IsLogits(row.kind) ? 0.0f : 1.0f;
  ForEachPaced(row.pace, values.adjusted.size(), [&](size_t id) { values.adjusted[id] = likely; });
  if (!HasDrawable(row, values.received)) CopyPaced(row.pace, values.adjusted, values.received);
  AdjustValues(row, values.adjusted);
  const float impossible = ImpossibleValue(row.kind);
  ForEachPaced(row.pace, values.adjusted.size(), [&](size_t id) {
    if (values.adjusted[id] != impossible) values.adjusted[id] = likely;
  });
}

// Adjusts the received values. False if the row failed.
bool Adjust(const RowInput& row, RowValues& values, RowResult& result) {
  CopyPaced(row.pace, values.received, values.adjusted);
  if (!HasAdjustments(row)) return true;
  AdjustValues(row, values.adjusted);
  return MakeValid(row, values.adjusted, result);
}

}  // namespace

void FailRow(RowCode code, std::string message, RowResult& result) {
  result.Clear();
  result.code = code;
  result.message = std::move(message);
}

void FailInterrupted(RowResult& result) { FailRow(RowCode::kInvalidInput, "interrupted", result); }

bool FailAtInvalidValue(const RowInput& row, RowResult& result) {
  for (int64_t id = 0; id < row.vocab; ++id) {
    if (static_cast<size_t>(id) % kPieceItems == kPieceItems - 1) Ask(row.pace);
    const float value = LoadAsFloat(row.values, row.dtype, id) + 0.0f;
    if (FailAt(row.kind, static_cast<uint32_t>(id), value, result)) return true;
  }
  return false;
}

void FailWithoutTokens(InputKind kind, RowResult& result) {
  if (IsLogits(kind)) {
    FailRow(RowCode::kAllMasked, "every logit is -infinity: no token can be drawn", result);
  } else {
    FailRow(RowCode::kZeroSum, "every weight is 0: the sum must be above 0", result);
  }
}

bool FailsWithTooFew(const SamplingParams& params, size_t left, RowResult& result) {
  if (params.replacement || params.num_samples <= left) return false;
  FailRow(RowCode::kTooFewTokens,
          absl::StrCat("num_samples is ", params.num_samples, " without replacement, but only ",
                       left, left == 1 ? " token is" : " tokens are", " left to draw from"),
          result);
  return true;
}

bool PrepareValues(const RowInput& row, RowValues& values, RowResult& result) {
  const auto vocab = static_cast<size_t>(row.vocab);
  values.received.clear();
  values.received.reserve(vocab);
  ForEachPaced(row.pace, vocab, [&](size_t id) {
    values.received.push_back(LoadAsFloat(row.values, row.dtype, static_cast<int64_t>(id)) + 0.0f);
  });
  if (!MakeValid(row, values.received, result)) return false;
  const bool uniform = row.params->invalid_values == InvalidValuePolicy::kSanitizeUniform;
  if (!uniform && !HasDrawable(row, values.received)) {
    FailWithoutTokens(row.kind, result);
    return false;
  }
  if (const absl::Status status = CheckHistory(row, row.pace); !status.ok()) {
    FailRow(RowCode::kInvalidInput, std::string(status.message()), result);
    return false;
  }
  if (!Adjust(row, values, result)) {
    result.message = absl::StrCat("after adjustments, ", result.message);
    return false;
  }
  if (HasDrawable(row, values.adjusted)) return true;
  if (uniform) {
    MakeUniform(row, values);
    if (HasDrawable(row, values.adjusted)) {
      result.code = RowCode::kUniform;
      result.message = "no token was left, so one was drawn uniformly";
      return true;
    }
  }
  FailWithoutTokens(row.kind, result);
  result.message = absl::StrCat("after adjustments, ", result.message);
  return false;
}

}  // namespace token_sampler
