// Converts enums of the sampler whose numbers are those of the contract, by a cast.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_WIRE_ENUMS_H_
#define TOKEN_SAMPLER_SERVER_CODEC_WIRE_ENUMS_H_

#include "sampler/params/stage_table.h"
#include "sampler/sampler.h"
#include "token_sampler/v1/sampling_params.pb.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

constexpr v1::RowCode ToWire(RowCode code) { return static_cast<v1::RowCode>(code); }

static_assert(ToWire(RowCode::kOk) == v1::ROW_CODE_OK);
static_assert(ToWire(RowCode::kSanitized) == v1::ROW_CODE_SANITIZED);
static_assert(ToWire(RowCode::kUniform) == v1::ROW_CODE_UNIFORM);
static_assert(ToWire(RowCode::kApproximate) == v1::ROW_CODE_APPROXIMATE);
static_assert(ToWire(RowCode::kInvalidParams) == v1::ROW_CODE_INVALID_PARAMS);
static_assert(ToWire(RowCode::kNan) == v1::ROW_CODE_NAN);
static_assert(ToWire(RowCode::kInfinite) == v1::ROW_CODE_INFINITE);
static_assert(ToWire(RowCode::kNegative) == v1::ROW_CODE_NEGATIVE);
static_assert(ToWire(RowCode::kAllMasked) == v1::ROW_CODE_ALL_MASKED);
static_assert(ToWire(RowCode::kZeroSum) == v1::ROW_CODE_ZERO_SUM);
static_assert(ToWire(RowCode::kTooFewTokens) == v1::ROW_CODE_TOO_FEW_TOKENS);
static_assert(ToWire(RowCode::kInvalidInput) == v1::ROW_CODE_INVALID_INPUT);
static_assert(ToWire(RowCode::kInexact) == v1::ROW_CODE_INEXACT);
static_assert(v1::RowCode_MAX == v1::ROW_CODE_INEXACT, "a new RowCode needs a row above");

// `stage` must be a value of the contract, and not STAGE_UNSPECIFIED.
constexpr Stage FromWire(v1::Stage stage) { return static_cast<Stage>(stage); }

// wire_tables_test compares the names.
static_assert(v1::Stage_ARRAYSIZE == kNumStages + 1,
              "each Stage of the contract needs a row in kStages");

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_WIRE_ENUMS_H_
