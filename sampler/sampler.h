// The interface that every backend implements: rows in, token ids out.
//
// All backends give the same tokens for the same row, bit for bit, as SPEC.md says; which one runs
// is a question of speed alone.

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

// Version of SPEC.md. Any change of any output raises it.
inline constexpr uint32_t kSpecVersion = 2;

// Largest row that the backends take.
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;

// What the row's sequence held so far, for adjustments. Ids are in the order of the sequence, or
// where order does not matter a set of the prompt's and counts of the output's.
struct RowHistory {
  absl::Span<const uint32_t> prompt_ids = {};
  absl::Span<const uint32_t> output_ids = {};
  absl::Span<const uint32_t> prompt_set = {};        // instead of prompt_ids
  absl::Span<const uint32_t> output_count_ids = {};  // instead of output_ids; none twice
  absl::Span<const uint32_t> output_counts = {};     // as many, >= 1
  bool skip_unknown_ids = false;  // whether ids may be at or above vocab; they fail the row if not
  // Indexes prompt_ids and output_ids for the row's parameters; null: they are searched. With it
  // their ids have been checked, and the sets and counts are given besides where penalties look at
  // all of the history.
  const RepetitionIndex* index = nullptr;
};

// What stateful stages carry from one step of a sequence to the next. An empty field starts anew.
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
  const RowSource* source = nullptr;  // instead of `values`: what they are read from, once,
  uint64_t source_offset = 0;         // and where the row starts there, in bytes
  DataType dtype = DataType::kFloat32;
  InputKind kind = InputKind::kLogits;
  int64_t vocab = 0;                       // 1 .. kMaxVocab
  const SamplingParams* params = nullptr;  // passed ValidateParams for this kind and vocab
  const OutputOptions* outputs = nullptr;  // null: tokens alone
  RowKey key;
  const RowHistory* history = nullptr;  // null: empty
  // ceil(vocab / 32) little-endian words, one bit per token, 1 = allowed; null: all are.
  const uint8_t* bitmask = nullptr;
  const RowState* state = nullptr;  // null: a new one
  Pace* pace = nullptr;             // asked while the row is sampled; null: nobody is
};

// How large the row's result can be. Of the filters only top-k bounds what is kept beforehand.
RowSize SizeOf(const RowInput& row);

// Why a row has no tokens, or what was done to it. Numbers are those of token_sampler.v1.RowCode.
enum class RowCode : uint8_t {
  kOk = 0,
  kSanitized = 1,    // values were repaired, as asked
  kUniform = 2,      // drawn uniformly, as asked
  kApproximate = 3,  // drawn among candidates, maybe not as the whole row
  kInvalidParams = 10,
  kNan = 11,
  kInfinite = 12,
  kNegative = 13,
  kAllMasked = 14,
  kZeroSum = 15,
  kTooFewTokens = 16,
  kInvalidInput = 17,
  kInexact = 18,  // candidates do not decide the draw, and that was asked
};

constexpr bool HasTokens(RowCode code) { return code < RowCode::kInvalidParams; }

// One row's outcome. A caller may reuse results from call to call to save allocations.
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
  RowState state;                        // behind the draw, when SamplingParams::stateful

  // Back to the initial state; keeps what the vectors have allocated.
  void Clear();
};

// Rows that a backend left to the CPU sampler.
struct Fallback {
  std::string reason;  // what it does not do, by the name of a stage or a field; or "host_rows":
                       // the CPU was the faster for rows from the host
  uint64_t rows = 0;
};

// Thread-safe: several threads may call Sample at once.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // "reference", "cpu" or "cuda".
  virtual absl::string_view name() const = 0;

  // What it runs on, for people: "2 threads, AVX3", "NVIDIA H200".
  virtual std::string device() const = 0;

  // Samples rows[i] into results[i]; the spans have the same length. A row that cannot be sampled
  // says so in its result and leaves the others untouched. An error is that of the whole batch (the
  // device failed, Internal), and then the results mean nothing.
  virtual absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) = 0;

  // How many calls of Sample go on at once without waiting for each other.
  virtual int parallel_calls() const { return 1; }

  // True when any number of threads may call Sample at a time and it samples a row or two on the
  // calling one, so that few rows are sooner done there than handed to another.
  virtual bool samples_on_calling_thread() const { return false; }

  // How many rows of one call are sampled side by side, at least 1.
  virtual int rows_at_once() const { return 1; }

  // What it left to the CPU sampler since it was made, one entry per reason; empty for a backend
  // that does all itself. Rows that fail are not counted.
  virtual std::vector<Fallback> fallbacks() const { return {}; }
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_SAMPLER_H_
