// The one model that KServe clients see, `sampler`: its tensors and their descriptions.
//
// Inputs are `logits` or `weights`, [rows, vocab], and what the native request has for each row:
// the fields of SamplingParams, RowKeys and RowState (as state.mirostat_mu ...) and lists of token
// ids. A field with one value per row is [rows, 1] or [rows]. A list is [rows, n], padded with -1
// (floating-point numbers with NaN, names with ""); in a list of sequences each -1 ends one. A
// value that is the same for all rows may be a request parameter.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_SAMPLER_MODEL_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_SAMPLER_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/batching/sampling_job.h"
#include "server/kserve/model_outputs.h"

namespace token_sampler {

inline constexpr char kModelName[] = "sampler";
inline constexpr char kModelVersion[] = "1";
inline constexpr uint32_t kPriorityLevels = kHighestPriority + 1;  // 1 is the most urgent

// The part of the native request that an input other than `logits` and `weights` sets.
enum class InputRole : uint8_t {
  kParams,     // a field of SamplingParams
  kSequences,  // a list of token sequences: bad_words or dry.breakers
  kKey,        // seed, step or stream
  kHistory,    // prompt_ids or output_ids
  kState,      // a field of RowState
  kBitmask,
};

struct ModelInputField {
  std::string name;
  std::string datatype;  // as described; any other that holds the values is accepted
  InputRole role;
  bool list;  // [rows, n]
};

// True for `logits` and `weights`, the tensor of the native request.
inline bool IsMatrix(absl::string_view name) { return name == "logits" || name == "weights"; }

// All inputs except `logits` and `weights`.
const std::vector<ModelInputField>& InputFields();

// Null when there is none of this name.
const ModelInputField* FindInputField(absl::string_view name);

// The descriptions that clients ask for. `max_rows` is the most rows of a call.
inference::ModelMetadataResponse DescribeModel();
inference::ModelConfig ConfigureModel(uint32_t max_rows);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_SAMPLER_MODEL_H_
