// The job of a row for the kernel: plain data, in one array per launch.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_

#include <cstdint>

#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/weight.h"

namespace token_sampler::cuda {

// The stages that the kernel supports. Jobs leave out stages that are off. Joint top-k and top-p
// (both on the same masses) is top-p before top-k.
enum class JobStage : uint8_t { kNone, kTemperature, kMinP, kTopK, kTopP };

// The adjustments of one token, SPEC.md §8. A field is 0 if its bit is not set.
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
  uint32_t operations;  // bits, applied in ascending order
  float bias;           // added
  float frequency;      // the penalty times the count; subtracted before RowJob::presence_penalty
  float dry;            // subtracted
};

struct RowJob {
  static constexpr int kMaxStages = 6;

  static constexpr uint32_t kMaxVocab = 1u << 24;

  const void* values;      // on the device, [vocab] elements of dtype, aligned to an element
  const uint32_t* mask;    // on the device, a bit per token, 1 = allowed; null: all are
  const TokenEdit* edits;  // on the device, [num_edits], each token at most once
  uint32_t num_edits;
  float repetition_penalty;
  float presence_penalty;
  RowKey key;
  double min_p;              // [0, 1]
  double top_p;              // [0, 1]
  WeightScale scale_at_one;  // at temperature 1, for stages before the temperature stage
  WeightScale scale;         // at the row's temperature
  uint32_t vocab;
  uint32_t top_k;
  uint32_t num_samples;  // with replacement
  uint32_t first_token;  // index of its first draw in the array of tokens
  DataType dtype;
  bool is_logits;               // false: plain weights
  bool greedy;                  // temperature 0: takes the first token, which no stage removes
  bool top_k_first;             // top-k comes before any top-p
  JobStage stages[kMaxStages];  // in order, up to the first kNone
};

// The outcome of a row. A row fails if it has an invalid value or no token to draw; the CPU sampler
// reports which.
enum class JobStatus : uint32_t { kDrawn, kFailed };

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_ROW_JOB_H_
