// The interface that every backend implements: rows in, token ids out.
//
// All backends give the same tokens for the same row, bit for bit, as SPEC.md requires; the choice
// of one affects only speed.

#ifndef TOKEN_SAMPLER_SAMPLER_SAMPLER_H_
#define TOKEN_SAMPLER_SAMPLER_SAMPLER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/arithmetic/data_type.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/params/sampling_params.h"
#include "sampler/rows/pace.h"

namespace token_sampler {

class RepetitionIndex;

// The version of SPEC.md. Any change of any output raises it.
inline constexpr uint32_t kSpecVersion = 2;

// The largest row, in tokens, that the backends accept.
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;

// The tokens of the row's sequence so far, which adjustments read. prompt_ids and output_ids are in
// the order of the sequence. If the order does not matter, a set of the prompt's tokens and counts
// of the output's can stand for them.
struct RowHistory {
  absl::Span<const uint32_t> prompt_ids = {};
  absl::Span<const uint32_t> output_ids = {};
  absl::Span<const uint32_t> prompt_set = {};        // instead of prompt_ids
  absl::Span<const uint32_t> output_count_ids = {};  // instead of output_ids; none twice
  absl::Span<const uint32_t> output_counts = {};     // as many, >= 1
  bool skip_unknown_ids = false;                     // false: ids at or above vocab fail the row
  // An index of prompt_ids and output_ids for the row's parameters; null: they are searched. If it
  // is set, their ids have been checked, and the sets and counts are also set if penalties read all
  // of the history.
  const RepetitionIndex* index = nullptr;
};

// The state that stages carry from one step of a sequence to the next. An empty field has its
// initial value.
struct RowState {
  std::optional<double> mirostat_mu = {};        // bits, [-1e6, 1e6]; start: 2 tau
  std::optional<double> adaptive_p_sum = {};     // [0, 1e6]; start: target / (1 - decay)
  std::optional<double> adaptive_p_weight = {};  // (0, 1e6]; start: 1 / (1 - decay)
  std::optional<double> top_p = {};              // [0, 1]; start: top_p
};

class RowSource;

// One row to sample. Nothing is owned; all of it must outlive the call.
struct RowInput {
  const void* values = nullptr;       // [vocab] elements of dtype, contiguous, need not be aligned
  const RowSource* source = nullptr;  // instead of `values`: the source from which they are read,
                                      // once,
  uint64_t source_offset = 0;         // and the row's offset in it, in bytes
  DataType dtype = DataType::kFloat32;
  InputKind kind = InputKind::kLogits;
  int64_t vocab = 0;                       // 1 .. kMaxVocab
  const SamplingParams* params = nullptr;  // passed ValidateParams for this kind and vocab
  const OutputOptions* outputs = nullptr;  // null: only tokens
  RowKey key;
  const RowHistory* history = nullptr;  // null: empty
  // ceil(vocab / 32) little-endian words, one bit per token, 1 = allowed; null: all are.
  const uint8_t* bitmask = nullptr;
  const RowState* state = nullptr;  // null: a new one
  Pace* pace = nullptr;             // asked while the row is sampled; null: none is
};

// How large the row's result can be. Only top-k bounds beforehand what the filters keep.
RowSize SizeOf(const RowInput& row);

// The outcome of a row: OK, a note on how it was sampled, or the reason why it has no tokens.
// Numbers are those of token_sampler.v1.RowCode.
enum class RowCode : uint8_t {
  kOk = 0,
  kSanitized = 1,    // values were repaired, as asked
  kUniform = 2,      // drawn uniformly, as asked
  kApproximate = 3,  // drawn among candidates: may differ from the whole row's draw
  kInvalidParams = 10,
  kNan = 11,
  kInfinite = 12,
  kNegative = 13,
  kAllMasked = 14,
  kZeroSum = 15,
  kTooFewTokens = 16,
  kInvalidInput = 17,
  kInexact = 18,  // candidates do not decide the draw, and an exact one was asked for
};

constexpr bool HasTokens(RowCode code) { return code < RowCode::kInvalidParams; }

// The result of one row. A caller may reuse results from call to call to save allocations.
struct RowResult {
  RowCode code = RowCode::kOk;
  std::string message;                  // empty when OK; else names the token, the value, the rule
  std::vector<uint32_t> token_ids;      // [num_samples] in draw order, if HasTokens(code)
  std::vector<float> logprobs;          // [num_samples] when OutputOptions::logprobs
  std::vector<uint32_t> top_token_ids;  // likeliest first; fewer than OutputOptions::top_logprobs
                                        // when fewer tokens have a probability above 0
  std::vector<float> top_logprobs;      // as many

  std::vector<uint32_t> ranks;  // [num_samples] when OutputOptions::ranks; 1 = likeliest, 0 for a
                                // token outside of the distribution
  uint32_t kept_count = 0;      // when OutputOptions::kept_count
  std::vector<uint32_t> kept_token_ids;  // when OutputOptions::kept_set, ascending
  std::vector<float> kept_logprobs;      // as many, over the kept set
  double max_probability = 0.0;          // when OutputOptions::extremes
  double min_probability = 0.0;          // of the tokens that can be drawn
  double entropy = 0.0;                  // nats, when OutputOptions::entropy
  std::vector<float> gumbel_softmax;     // [num_samples, vocab] when OutputOptions::gumbel_softmax
  std::vector<uint32_t> weighed_ids;     // when OutputOptions::weights: the tokens that can be
                                         // drawn, ascending
  std::vector<uint64_t> weights;         // as many, > 0: SPEC.md §4; that of a greedy row is 1
  bool greedy = false;                   // when OutputOptions::weights: SPEC.md §6
  RowState state;                        // after the draw, when SamplingParams::stateful

  // Resets to the initial state; keeps what the vectors have allocated.
  void Clear();
};

// The number of rows that a backend left to the CPU sampler for one reason.
struct Fallback {
  std::string reason;  // the stage or field that it does not support; or "host_rows": the CPU is
                       // faster for rows from the host
  uint64_t rows = 0;
};

// Thread-safe: several threads may call Sample at once.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // "reference", "cpu" or "cuda".
  virtual absl::string_view name() const = 0;

  // The device on which it runs, for people: "2 threads, AVX3", "NVIDIA H200".
  virtual std::string device() const = 0;

  // Samples rows[i] into results[i]; the spans have the same length. A row that cannot be sampled
  // reports that in its result and does not affect the others. An error concerns the whole batch
  // (Internal: the device failed): the results are then invalid.
  virtual absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) = 0;

  // The number of calls of Sample that can run at a time without waiting for each other.
  virtual int parallel_calls() const { return 1; }

  // True if any number of threads may call Sample at a time, and Sample handles a row or two on the
  // calling thread. Then sampling a few rows there is faster than handing them to another thread.
  virtual bool samples_on_calling_thread() const { return false; }

  // The number of rows of one call that are sampled in parallel, at least 1.
  virtual int rows_at_once() const { return 1; }

  // The rows that it left to the CPU sampler since it was made, one entry per reason. Empty for a
  // backend that supports everything. Rows that fail are not counted.
  virtual std::vector<Fallback> fallbacks() const { return {}; }
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_SAMPLER_H_
