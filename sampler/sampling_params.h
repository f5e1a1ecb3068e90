// How one row is sampled, and the one place where parameters are checked.

#ifndef TOKEN_SAMPLER_SAMPLER_SAMPLING_PARAMS_H_
#define TOKEN_SAMPLER_SAMPLER_SAMPLING_PARAMS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "sampler/stage_order.h"

namespace token_sampler {

// What the values of a row mean.
enum class InputKind : uint8_t {
  kLogits,   // finite or -infinity; the distribution is their softmax
  kWeights,  // finite, >= 0, not normalised; the meaning of torch.multinomial's input
};

// Which tokens top-k keeps of those whose value equals that of the k-th.
enum class TiePolicy : uint8_t {
  kExactlyK,  // those of the lowest ids, so that k are kept
  kKeepAll,   // all of them
};

// Added to one token's logit: finite or -infinity.
struct TokenBias {
  uint32_t token_id;
  float value;
};

// Meanings and ranges are those of token_sampler.v1.SamplingParams; the defaults are "off".
struct SamplingParams {
  double temperature = 1.0;  // 0 (greedy) or [1e-6, 1e6]
  uint32_t num_samples = 1;  // 1 .. kMaxDraws
  bool replacement = false;  // whether one row's draws may repeat a token
  uint32_t top_k = 0;        // 0: off
  double top_p = 1.0;        // [0, 1]; 1: off
  double min_p = 0.0;        // [0, 1]; 0: off

  TiePolicy top_k_ties = TiePolicy::kExactlyK;
  double epsilon_cutoff = 0.0;  // [0, 1); 0: off
  bool p_less = false;
  double xtc_probability = 0.0;     // [0, 1]; 0: off
  double xtc_threshold = 0.1;       // [0, 1]
  uint32_t min_tokens_to_keep = 1;  // by every filter; >= 1
  StageOrder stage_order = kVllmOrder;

  // Adjustments, in the order in which they act. Ids are below vocab.
  std::vector<uint32_t> allowed_ids = {};  // empty: all
  std::vector<uint32_t> banned_ids = {};
  std::vector<std::vector<uint32_t>> bad_words = {};  // none empty
  uint32_t min_tokens = 0;                            // below this step, stop_ids are banned
  std::vector<uint32_t> stop_ids = {};
  std::vector<TokenBias> logit_bias = {};  // no id twice
  double repetition_penalty = 1.0;         // (0, 1e6]; 1: off
  double frequency_penalty = 0.0;          // [-1e6, 1e6]; 0: off
  double presence_penalty = 0.0;           // [-1e6, 1e6]; 0: off
  uint32_t no_repeat_ngram_size = 0;       // 0: off
};

// Which distribution log-probabilities are taken from.
enum class LogprobMode : uint8_t {
  kRaw,        // the row as received
  kProcessed,  // what the token was drawn from: after temperature and filters, renormalised
};

// How the rank of a token counts its equals.
enum class RankMode : uint8_t {
  kGreater,       // 1 + the number of tokens with a greater value
  kGreaterEqual,  // the number of tokens with a greater or equal value (vLLM)
};

// What a row's result holds besides the tokens. Ranks and extremes are those of the distribution
// that logprob_mode names.
struct OutputOptions {
  bool logprobs = false;      // of each drawn token
  uint32_t top_logprobs = 0;  // the n likeliest tokens and theirs
  LogprobMode logprob_mode = LogprobMode::kRaw;
  bool ranks = false;  // of each drawn token
  RankMode rank_mode = RankMode::kGreater;
  bool kept_count = false;
  bool kept_set = false;  // the tokens that the filters kept, and their log-probabilities
  bool extremes = false;  // the largest and the smallest probability
};

// Where in a request a parameter stands, for messages: "params[2].top_p of row 7 must be ...".
struct ParamsLocation {
  absl::string_view profile = "params";  // prefix of the field names
  int64_t row = -1;                      // -1: not known, not named
};

// InvalidArgument that names field, row, value and accepted range when a value is outside its range
// or does not fit a row of `vocab` values of `kind`.
absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_SAMPLING_PARAMS_H_
