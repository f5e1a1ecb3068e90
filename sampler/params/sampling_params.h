// The parameters of a row and of its outputs, and the one place where they are checked.

#ifndef TOKEN_SAMPLER_SAMPLER_PARAMS_SAMPLING_PARAMS_H_
#define TOKEN_SAMPLER_SAMPLER_PARAMS_SAMPLING_PARAMS_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/params/output_options.h"
#include "sampler/params/scalar_param.h"
#include "sampler/params/stage_order.h"

namespace token_sampler {

// The meaning of a row's values.
enum class InputKind : uint8_t {
  kLogits,   // finite or -infinity; the distribution is their softmax
  kWeights,  // finite, >= 0, not normalised; the meaning of torch.multinomial's input
};

// The value of a token that is never drawn.
constexpr float ImpossibleValue(InputKind kind) {
  return kind == InputKind::kLogits ? -std::numeric_limits<float>::infinity() : 0.0f;
}

// How top-k and typical sampling treat tokens that tie with the last one that they keep.
enum class TiePolicy : uint8_t {
  kExactlyK,  // keep those of the lowest ids, so that k are kept
  kKeepAll,   // keep all of them
};

// How a sampler treats a value that is not allowed.
enum class InvalidValuePolicy : uint8_t {
  kFail,             // the row fails
  kSanitize,         // it is repaired: SPEC.md §2
  kSanitizeUniform,  // the same, and a row without a token left is drawn uniformly
};

struct TemperatureSchedule {
  enum class Kind : uint8_t { kLinear, kExponential };
  Kind kind = Kind::kLinear;
  double begin = 1.0;  // exponential: not 0
  double end = 1.0;    // the same
  uint32_t num_steps = 1;
};

struct DynamicTemperature {
  double range = 0.0;
  double exponent = 1.0;
};

struct Mirostat {
  uint32_t version = 2;
  double tau = 5.0;  // bits
  double eta = 0.1;
};

struct AdaptiveP {
  double target = 0.5;
  double decay = 0.9;
};

struct TopPDecay {
  double decay = 1.0;
  double min = 1e-6;
  std::vector<uint32_t> reset_ids = {};  // below vocab
};

struct Dry {
  double multiplier = 0.0;  // 0: off
  double base = 1.75;
  uint32_t allowed_length = 2;
  int32_t last_n = -1;                               // -1: all of the history
  std::vector<std::vector<uint32_t>> breakers = {};  // none empty; limits in ValidateParams
};

// Added to one token's logit: finite or -infinity.
struct TokenBias {
  uint32_t token_id;
  float value;
};

// The fields mean what those of token_sampler.v1.SamplingParams mean. By default every stage is
// off. kScalarParams below has the ranges.
struct SamplingParams {
  double temperature = 1.0;  // 0: greedy
  uint32_t num_samples = 1;
  bool replacement = false;  // true: one row's draws may repeat a token
  uint32_t top_k = 0;        // 0: off
  double top_p = 1.0;        // 1: off
  double min_p = 0.0;        // 0: off

  std::optional<TemperatureSchedule> temperature_schedule = {};  // instead of temperature
  std::optional<DynamicTemperature> dynamic_temperature = {};
  std::optional<double> greedy_threshold = {};
  InvalidValuePolicy invalid_values = InvalidValuePolicy::kFail;

  TiePolicy top_k_ties = TiePolicy::kExactlyK;
  std::optional<TopPDecay> top_p_decay = {};
  double typical_p = 1.0;       // 1: off
  double epsilon_cutoff = 0.0;  // 0: off
  double eta_cutoff = 0.0;      // 0: off
  double top_n_sigma = 0.0;     // 0: off
  double top_a = 0.0;           // 0: off
  bool p_less = false;
  double xtc_probability = 0.0;  // 0: off
  double xtc_threshold = 0.1;
  std::optional<Mirostat> mirostat = {};
  std::optional<AdaptiveP> adaptive_p = {};
  uint32_t min_tokens_to_keep = 1;  // by every filter
  StageOrder stage_order = DefaultStageOrder();

  // Adjustments, in the order in which they act. Ids are below vocab.
  std::vector<uint32_t> allowed_ids = {};  // empty: all
  std::vector<uint32_t> banned_ids = {};
  std::vector<std::vector<uint32_t>> bad_words = {};  // none empty
  uint32_t min_tokens = 0;                            // below this step, stop_ids are banned
  std::vector<uint32_t> stop_ids = {};
  std::vector<TokenBias> logit_bias = {};  // no id twice
  double repetition_penalty = 1.0;         // 1: off
  double frequency_penalty = 0.0;          // 0: off
  double presence_penalty = 0.0;           // 0: off
  int32_t penalty_last_n = -1;             // newest tokens that penalties look at; -1: all
  uint32_t no_repeat_ngram_size = 0;       // 0: off
  Dry dry = {};

  // The first parameter whose stage carries state from step to step; "" if none does.
  absl::string_view state_param() const;
  bool stateful() const { return !state_param().empty(); }
};

// All scalar parameters, each with its name and range. All code that checks, decodes or writes
// parameters one by one reads this table: a new scalar is a member above and a row here. Its
// default is the initial value of the member.
inline constexpr bool kLogitsOnly = true;
inline constexpr ScalarParam kScalarParams[] = {
    // The draw.
    Scalar<&SamplingParams::temperature>("temperature", ZeroOr(1e-6, 1e6)),
    Scalar<&SamplingParams::num_samples>("num_samples", Closed(1, kMaxDraws)),
    Scalar<&SamplingParams::replacement>("replacement", Closed(0, 1)),
    Scalar<&SamplingParams::greedy_threshold>("greedy_threshold", Above(0, 1)),
    Scalar<&SamplingParams::temperature_schedule, &TemperatureSchedule::begin>(
        "temperature_schedule.begin", Closed(0, 1e6)),
    Scalar<&SamplingParams::temperature_schedule, &TemperatureSchedule::end>(
        "temperature_schedule.end", Closed(0, 1e6)),
    Scalar<&SamplingParams::temperature_schedule, &TemperatureSchedule::num_steps>(
        "temperature_schedule.num_steps", AtLeast(1)),
    Scalar<&SamplingParams::dynamic_temperature, &DynamicTemperature::range>(
        "dynamic_temperature.range", Closed(0, 1e6)),
    Scalar<&SamplingParams::dynamic_temperature, &DynamicTemperature::exponent>(
        "dynamic_temperature.exponent", Closed(0, 1e3)),
    // Filters.
    Scalar<&SamplingParams::top_k>("top_k", AtLeast(0)),
    Scalar<&SamplingParams::top_p>("top_p", Closed(0, 1)),
    Scalar<&SamplingParams::min_p>("min_p", Closed(0, 1)),
    Scalar<&SamplingParams::typical_p>("typical_p", Above(0, 1)),
    Scalar<&SamplingParams::epsilon_cutoff>("epsilon_cutoff", Below(0, 1)),
    Scalar<&SamplingParams::eta_cutoff>("eta_cutoff", Below(0, 1)),
    Scalar<&SamplingParams::top_n_sigma>("top_n_sigma", Closed(0, 1e6), kLogitsOnly),
    Scalar<&SamplingParams::top_a>("top_a", Closed(0, 1)),
    Scalar<&SamplingParams::p_less>("p_less", Closed(0, 1)),
    Scalar<&SamplingParams::xtc_probability>("xtc.probability", Closed(0, 1)),
    Scalar<&SamplingParams::xtc_threshold>("xtc.threshold", Closed(0, 1)),
    Scalar<&SamplingParams::mirostat, &Mirostat::version>("mirostat.version", Closed(1, 2)),
    Scalar<&SamplingParams::mirostat, &Mirostat::tau>("mirostat.tau", Above(0, 1e3)),
    Scalar<&SamplingParams::mirostat, &Mirostat::eta>("mirostat.eta", Above(0, 1)),
    Scalar<&SamplingParams::adaptive_p, &AdaptiveP::target>("adaptive_p.target", Closed(0, 1)),
    Scalar<&SamplingParams::adaptive_p, &AdaptiveP::decay>("adaptive_p.decay", Closed(0, 0.99)),
    Scalar<&SamplingParams::top_p_decay, &TopPDecay::decay>("top_p_decay.decay", Above(0, 1)),
    Scalar<&SamplingParams::top_p_decay, &TopPDecay::min>("top_p_decay.min", Above(0, 1)),
    Scalar<&SamplingParams::min_tokens_to_keep>("min_tokens_to_keep", AtLeast(1)),
    // Adjustments.
    Scalar<&SamplingParams::min_tokens>("min_tokens", AtLeast(0)),
    Scalar<&SamplingParams::repetition_penalty>("repetition_penalty", Above(0, 1e6), kLogitsOnly),
    Scalar<&SamplingParams::frequency_penalty>("frequency_penalty", Closed(-1e6, 1e6), kLogitsOnly),
    Scalar<&SamplingParams::presence_penalty>("presence_penalty", Closed(-1e6, 1e6), kLogitsOnly),
    Scalar<&SamplingParams::penalty_last_n>("penalty_last_n", AtLeast(-1)),
    Scalar<&SamplingParams::no_repeat_ngram_size>("no_repeat_ngram_size", AtLeast(0)),
    Scalar<&SamplingParams::dry, &Dry::multiplier>("dry.multiplier", Closed(0, 1e6), kLogitsOnly),
    Scalar<&SamplingParams::dry, &Dry::base>("dry.base", Closed(1, 1e6)),
    Scalar<&SamplingParams::dry, &Dry::allowed_length>("dry.allowed_length", AtLeast(1)),
    Scalar<&SamplingParams::dry, &Dry::last_n>("dry.last_n", AtLeast(-1)),
};

// Returns the row of kScalarParams with this name; null if there is none.
const ScalarParam* FindScalarParam(absl::string_view name);

// The most sequence breakers of DRY, and the most tokens of one.
inline constexpr size_t kMaxDryBreakers = 64;
inline constexpr size_t kMaxDryBreakerTokens = 32;

// The place of parameters in a request, for messages: "params[2].top_p of row 7 must be ...".
struct ParamsLocation {
  absl::string_view profile = "params";  // prefix of the field names
  int64_t row = -1;                      // -1: unknown, so messages do not name it
};

// Checks the parameters of a row of `vocab` values of `kind`. InvalidArgument when a value is
// outside its range or does not fit such a row; it names field, row, value and accepted range.
absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location);

// Shortens the lists of allowed and banned tokens without changing their meaning, because every row
// that uses the parameters goes through them: removes ids that occur twice, and makes bad words of
// one token banned ids. The parameters must have passed ValidateParams for `vocab`.
void ShortenLists(int64_t vocab, SamplingParams& params);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PARAMS_SAMPLING_PARAMS_H_
