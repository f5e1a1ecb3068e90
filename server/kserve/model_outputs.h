// The outputs of the one model that KServe clients see, in one table: a new output is a row of it.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_MODEL_OUTPUTS_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_MODEL_OUTPUTS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// How many columns an output has.
enum class OutputWidth : uint8_t {
  kOne,
  kDraws,        // of the row that has most
  kTopLogprobs,  // the requested number
  kKept,         // of the row that has most
  kRelaxed,      // draws * vocab
};

// One row of a native answer.
struct AnsweredRow {
  const v1::SampleResponse& sampled;
  const v1::RowStatus* status;  // null: OK
  int row;
  int first_token;  // in sampled.token_ids
};

struct ModelOutputField {
  absl::string_view name;
  absl::string_view datatype;
  OutputWidth width;
  absl::string_view option;  // field of OutputOptions that requests it; empty: always there
  bool by_default;           // included when the request names no outputs
  // Appends the row's `width` elements in KServe's raw form, padded with -1, NaN or 0.
  void (*append)(const AnsweredRow& row, int64_t width, std::string& data);
};

absl::Span<const ModelOutputField> OutputFields();

// Null when there is none of this name.
const ModelOutputField* FindOutputField(absl::string_view name);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_MODEL_OUTPUTS_H_
