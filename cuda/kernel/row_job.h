// What a kernel is told of one row: plain data, packed into one array per launch.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_

#include <cstdint>

#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/weight.h"

namespace token_sampler::cuda {

// The stages that the kernel knows, those that are off left out. Joint top-k and top-p (both on the
// same masses) is top-p before top-k.
enum class JobStage : uint8_t { kNone, kTemperature, kMinP, kTopK, kTopP };

// What adjustments do to one token, SPEC.md §8; of each field 0 where its bit is not set.
struct TokenEdit {
  enum Operation : uint32_t {
    kBan = 1,
    kBias = 2,
    kRepetition = 4,
    kCounted = 8,
    kBanRepeating = 16,
    kDry = 32
  };

  uint32_t token;
  uint32_t operations;  // bits, applied in their order
  float bias;           // added
  float frequency;      // subtracted before RowJob::presence_penalty: the penalty times the count
  float dry;            // subtracted
};

struct RowJob {
  static constexpr int kMaxStages = 6;

  static constexpr uint32_t kMaxVocab = 1u << 24;

  const void* values;      // on the device, [vocab] elements of dtype, aligned to an element
  const uint32_t* mask;    // on the device, a bit per token, 1 = allowed; null: all are
  const TokenEdit* edits;  // on the device, [num_edits], no token twice
  uint32_t num_edits;
  float repetition_penalty;
  float presence_penalty;
  RowKey key;
  double min_p;              // [0, 1]
  double top_p;              // [0, 1]
  WeightScale scale_at_one;  // temperature 1, for stages before that of the temperature
  WeightScale scale;         // the row's temperature
  uint32_t vocab;
  uint32_t top_k;
  uint32_t num_samples;  // with replacement
  uint32_t first_token;  // where in the array of tokens its draws go
  DataType dtype;
  bool is_logits;               // else plain weights
  bool greedy;                  // temperature 0: the first token, which no stage drops
  bool top_k_first;             // before any top-p
  JobStage stages[kMaxStages];  // in order, up to the first kNone
};

// What became of a row. The CPU sampler says why a row failed: an invalid value, or none to draw.
enum class JobStatus : uint32_t { kDrawn, kFailed };

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_
