// Enums of the library whose numbers follow those of the contract, so that they travel by a cast.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_WIRE_ENUMS_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_WIRE_ENUMS_H_

#include <iterator>

#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/sampling_params.pb.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {

// The contract has UNSPECIFIED at 0, before these.
constexpr v1::StagePreset ToWire(StagePreset preset) {
  return static_cast<v1::StagePreset>(static_cast<int>(preset) + 1);
}
static_assert(ToWire(StagePreset::kVllm) == v1::STAGE_PRESET_VLLM);
static_assert(ToWire(StagePreset::kHf) == v1::STAGE_PRESET_HF);
static_assert(ToWire(StagePreset::kLlamaCpp) == v1::STAGE_PRESET_LLAMA_CPP);
static_assert(ToWire(StagePreset::kSglang) == v1::STAGE_PRESET_SGLANG);

constexpr v1::InvalidValuePolicy ToWire(InvalidValuePolicy policy) {
  return static_cast<v1::InvalidValuePolicy>(static_cast<int>(policy) + 1);
}
static_assert(ToWire(InvalidValuePolicy::kFail) == v1::INVALID_VALUE_POLICY_FAIL);
static_assert(ToWire(InvalidValuePolicy::kSanitize) == v1::INVALID_VALUE_POLICY_SANITIZE);
static_assert(ToWire(InvalidValuePolicy::kSanitizeUniform) ==
              v1::INVALID_VALUE_POLICY_SANITIZE_UNIFORM);

constexpr v1::Stage ToWire(Stage stage) { return static_cast<v1::Stage>(stage); }
// sampling_flags_test compares the names.
static_assert(std::size(kNamedStages) == v1::Stage_ARRAYSIZE - 1,
              "each Stage of the contract needs a name in kNamedStages");

// A server of a later version may send numbers that this library does not know.
constexpr RowCode FromWire(v1::RowCode code) { return static_cast<RowCode>(code); }
static_assert(FromWire(v1::ROW_CODE_OK) == RowCode::kOk);
static_assert(FromWire(v1::ROW_CODE_SANITIZED) == RowCode::kSanitized);
static_assert(FromWire(v1::ROW_CODE_UNIFORM) == RowCode::kUniform);
static_assert(FromWire(v1::ROW_CODE_APPROXIMATE) == RowCode::kApproximate);
static_assert(FromWire(v1::ROW_CODE_INVALID_PARAMS) == RowCode::kInvalidParams);
static_assert(FromWire(v1::ROW_CODE_NAN) == RowCode::kNan);
static_assert(FromWire(v1::ROW_CODE_INFINITE) == RowCode::kInfinite);
static_assert(FromWire(v1::ROW_CODE_NEGATIVE) == RowCode::kNegative);
static_assert(FromWire(v1::ROW_CODE_ALL_MASKED) == RowCode::kAllMasked);
static_assert(FromWire(v1::ROW_CODE_ZERO_SUM) == RowCode::kZeroSum);
static_assert(FromWire(v1::ROW_CODE_TOO_FEW_TOKENS) == RowCode::kTooFewTokens);
static_assert(FromWire(v1::ROW_CODE_INVALID_INPUT) == RowCode::kInvalidInput);
static_assert(FromWire(v1::ROW_CODE_INEXACT) == RowCode::kInexact);
static_assert(v1::RowCode_MAX == v1::ROW_CODE_INEXACT, "a new RowCode needs a row above");

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_WIRE_ENUMS_H_
