#include "client/cli/sampling_flags.h"

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/flags.h"

namespace token_sampler::client {
namespace {

constexpr char kDraw[] = "Draw";
constexpr char kFilters[] = "Filters";
constexpr char kAdjustments[] = "Adjustments";
constexpr char kOutput[] = "Output";
constexpr char kZeroIsOff[] = "0 is off";  // where engines have -1

using Numbers = std::vector<double>;

// "1:0.5" as numbers. False when a part is none, or there are fewer than `least` or more than
// `most`.
bool ParseNumbers(const std::string& text, size_t least, size_t most, Numbers& numbers) {
  for (const absl::string_view part : absl::StrSplit(text, ':')) {
    if (!absl::SimpleAtod(part, &numbers.emplace_back())) return false;
  }
  return numbers.size() >= least && numbers.size() <= most;
}

// A number that a flag takes for a count.
template <typename Integer>
Integer Whole(double number) {
  using Limits = std::numeric_limits<Integer>;
  if (number != std::floor(number) || number < Limits::min() || number > Limits::max()) {
    throw CLI::ValidationError(absl::StrCat("must be a whole number in [", Limits::min(), ", ",
                                            Limits::max(), "], got ", number));
  }
  return static_cast<Integer>(number);
}

// A flag of numbers separated by colons; `form` names them, the optional ones in brackets.
void AddNumbers(CLI::App& app, const std::string& name, const std::string& form, size_t least,
                size_t most, const std::function<void(const Numbers&)>& take,
                const std::string& description, const char* group) {
  app.add_option_function<std::string>(
         name,
         [=](const std::string& text) {
           Numbers numbers;
           if (!ParseNumbers(text, least, most, numbers)) {
             throw CLI::ValidationError(name, absl::StrCat("must be ", form, ", got ", text));
           }
           try {
             take(numbers);
           } catch (const CLI::ValidationError& error) {
             throw CLI::ValidationError(name, error.what());
           }
         },
         description)
      ->type_name(form)
      ->group(group);
}

CLI::Option* AddIds(CLI::App& app, const std::string& name, std::vector<uint32_t>& ids,
                    const std::string& description) {
  return AddIdsFlag(app, name, ids, description)->group(kAdjustments);
}

// Sequences of ids, separated by semicolons.
void AddSequences(CLI::App& app, const std::string& name,
                  const std::function<void(std::vector<std::vector<uint32_t>>)>& take,
                  const std::string& description) {
  app.add_option_function<std::string>(
         name,
         [name, take](const std::string& text) {
           std::vector<std::vector<uint32_t>> sequences;
           for (const absl::string_view part : absl::StrSplit(text, ';')) {
             if (!ParseIds(part, sequences.emplace_back())) {
               throw CLI::ValidationError(name,
                                          absl::StrCat("must be ID,ID,...;ID,..., got ", text));
             }
           }
           take(std::move(sequences));
         },
         description)
      ->type_name("ID,...;ID,...")
      ->group(kAdjustments);
}

template <typename Value>
void AddNumber(CLI::App& app, const std::string& name, Value& value, const std::string& form,
               const std::string& description, const char* group) {
  app.add_option(name, value, description)
      ->type_name(form)
      ->group(group)
      ->check(CLI::Validator(
          [](const std::string& text) {
            double number = 0.0;
            return absl::SimpleAtod(text, &number) ? ""
                                                   : absl::StrCat("must be a number, got ", text);
          },
          ""));
}

void AddCount(CLI::App& app, const std::string& name, std::optional<uint32_t>& value,
              const std::string& description, const char* group, uint64_t least = 0,
              const char* hint = "") {
  app.add_option(name, value, description)
      ->type_name("N")
      ->group(group)
      ->check(WholeNumber(least, UINT32_MAX, hint));
}

void AddDrawFlags(CLI::App& app, SamplingParams& params) {
  AddNumber(app, "--temperature", params.temperature, "T", "Divides the logits; 0 is greedy [1]",
            kDraw);
  AddCount(app, "--num-samples", params.num_samples, "Tokens drawn per row [1]", kDraw, 1);
  app.add_flag_callback(
         "--replacement", [&params] { params.replacement = true; },
         "Let a row's draws repeat a token")
      ->group(kDraw);
  AddNumber(app, "--greedy-threshold", params.greedy_threshold, "P",
            "Greedy where the largest probability is at least P", kDraw);
  AddNumbers(
      app, "--temperature-linear", "BEGIN:END:STEPS", 3, 3,
      [&params](const Numbers& n) {
        params.temperature_schedule = {false, n[0], n[1], Whole<uint32_t>(n[2])};
      },
      "Temperature that runs from BEGIN to END within STEPS steps", kDraw);
  AddNumbers(
      app, "--temperature-exponential", "BEGIN:END:STEPS", 3, 3,
      [&params](const Numbers& n) {
        params.temperature_schedule = {true, n[0], n[1], Whole<uint32_t>(n[2])};
      },
      "The same by equal factors", kDraw);
  AddNumbers(
      app, "--dynamic-temperature", "RANGE[:EXPONENT]", 1, 2,
      [&params](const Numbers& n) {
        params.dynamic_temperature = {n[0], n.size() > 1 ? n[1] : DynamicTemperature().exponent};
      },
      "Temperature that follows the entropy, +- RANGE", kDraw);
  AddChoice<InvalidValuePolicy>(app, "--invalid-values", params.invalid_values,
                                {{"fail", InvalidValuePolicy::kFail},
                                 {"sanitize", InvalidValuePolicy::kSanitize},
                                 {"uniform", InvalidValuePolicy::kSanitizeUniform}},
                                "What to do with NaN and infinities [fail]")
      ->group(kDraw);
}

// As the names of token_sampler.v1.Stage in lower case.
const std::map<std::string, Stage>& StageNames() {
  static const std::map<std::string, Stage> names = {
      {"temperature", Stage::kTemperature},
      {"min_p", Stage::kMinP},
      {"top_k", Stage::kTopK},
      {"top_p", Stage::kTopP},
      {"typical_p", Stage::kTypicalP},
      {"epsilon", Stage::kEpsilon},
      {"eta", Stage::kEta},
      {"top_n_sigma", Stage::kTopNSigma},
      {"p_less", Stage::kPLess},
      {"xtc", Stage::kXtc},
      {"mirostat", Stage::kMirostat},
      {"adaptive_p", Stage::kAdaptiveP},
      {"top_k_top_p", Stage::kTopKTopP},
  };
  return names;
}

void AddStageFlags(CLI::App& app, SamplingParams& params) {
  AddChoice<StagePreset>(app, "--stage-preset", params.stage_preset,
                         {{"vllm", StagePreset::kVllm},
                          {"hf", StagePreset::kHf},
                          {"llama_cpp", StagePreset::kLlamaCpp},
                          {"sglang", StagePreset::kSglang}},
                         "Order of the stages [vllm]")
      ->group(kFilters);
  app.add_option_function<std::string>(
         "--stage-order",
         [&params](const std::string& text) {
           for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ','))) {
             const auto stage = StageNames().find(name);
             if (stage == StageNames().end()) {
               throw CLI::ValidationError(
                   "--stage-order",
                   absl::StrCat("must name stages of ",
                                absl::StrJoin(StageNames(), ", ",
                                              [](std::string* out, const auto& entry) {
                                                out->append(entry.first);
                                              }),
                                ", got ", name));
             }
             params.stage_order.push_back(stage->second);
           }
         },
         "The stages, in order, instead of a preset")
      ->type_name("STAGE,...")
      ->group(kFilters);
}

void AddFilterFlags(CLI::App& app, SamplingParams& params) {
  AddCount(app, "--top-k", params.top_k, "Keep the N likeliest tokens; 0 is off [0]", kFilters, 0,
           kZeroIsOff);
  AddChoice<TiePolicy>(app, "--top-k-ties", params.top_k_ties,
                       {{"exact", TiePolicy::kExactlyK}, {"all", TiePolicy::kKeepAll}},
                       "Keep exactly K, or all that equal the last [exact]")
      ->group(kFilters);
  AddNumber(app, "--top-p", params.top_p, "P", "Keep the likeliest tokens that reach mass P [1]",
            kFilters);
  AddNumbers(
      app, "--top-p-decay", "DECAY[:MIN]", 1, 2,
      [&params](const Numbers& n) {
        if (!params.top_p_decay) params.top_p_decay = TopPDecay();
        params.top_p_decay->decay = n[0];
        if (n.size() > 1) params.top_p_decay->min = n[1];
      },
      "Multiply top-p by DECAY at each step, not below MIN", kFilters);
  app.add_option_function<std::string>(
         "--top-p-reset-ids",
         [&params](const std::string& text) {
           if (!params.top_p_decay) params.top_p_decay = TopPDecay();
           if (!ParseIds(text, params.top_p_decay->reset_ids)) {
             throw CLI::ValidationError("--top-p-reset-ids",
                                        absl::StrCat("must be ID,ID,..., got ", text));
           }
         },
         "The tokens behind which --top-p-decay starts again")
      ->type_name("ID,ID,...")
      ->group(kFilters);
  AddNumber(app, "--min-p", params.min_p, "P", "Keep tokens of at least P times the largest [0]",
            kFilters);
  AddNumber(app, "--typical-p", params.typical_p, "P",
            "Keep the tokens of the most typical surprise that reach mass P [1]", kFilters);
  AddNumber(app, "--epsilon-cutoff", params.epsilon_cutoff, "P",
            "Keep tokens of probability P or more [0]", kFilters);
  AddNumber(app, "--eta-cutoff", params.eta_cutoff, "P",
            "The same with a cutoff that the entropy lowers [0]", kFilters);
  AddNumber(app, "--top-n-sigma", params.top_n_sigma, "N",
            "Keep logits within N standard deviations of the largest [0]", kFilters);
  app.add_flag_callback(
         "--p-less", [&params] { params.p_less = true; },
         "Keep tokens of at least the expected probability")
      ->group(kFilters);
  AddNumbers(
      app, "--xtc", "PROBABILITY[:THRESHOLD]", 1, 2,
      [&params](const Numbers& n) {
        params.xtc = {n[0], n.size() > 1 ? n[1] : Xtc().threshold};
      },
      "Exclude top choices with this probability", kFilters);
  AddNumbers(
      app, "--mirostat", "VERSION[:TAU[:ETA]]", 1, 3,
      [&params](const Numbers& n) {
        params.mirostat = {Whole<uint32_t>(n[0]), n.size() > 1 ? n[1] : Mirostat().tau,
                           n.size() > 2 ? n[2] : Mirostat().eta};
      },
      "Mirostat 1 or 2", kFilters);
  AddNumbers(
      app, "--adaptive-p", "TARGET[:DECAY]", 1, 2,
      [&params](const Numbers& n) {
        params.adaptive_p = {n[0], n.size() > 1 ? n[1] : AdaptiveP().decay};
      },
      "Favour tokens near a target probability", kFilters);
  AddCount(app, "--min-tokens-to-keep", params.min_tokens_to_keep,
           "Every filter keeps N tokens or more [1]", kFilters, 1);
  AddStageFlags(app, params);
}

void AddBiasFlag(CLI::App& app, SamplingParams& params) {
  app.add_option_function<std::string>(
         "--logit-bias",
         [&params](const std::string& text) {
           for (const absl::string_view entry : absl::StrSplit(text, ',')) {
             const std::vector<absl::string_view> parts = absl::StrSplit(entry, ':');
             TokenBias bias;
             if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &bias.token_id) ||
                 !absl::SimpleAtof(parts[1], &bias.value)) {
               throw CLI::ValidationError(
                   "--logit-bias", absl::StrCat("must be ID:VALUE,ID:VALUE,..., got ", text));
             }
             params.logit_bias.push_back(bias);
           }
         },
         "Add VALUE to the logit of token ID")
      ->type_name("ID:VALUE,...")
      ->group(kAdjustments);
}

void AddAdjustmentFlags(CLI::App& app, SamplingParams& params) {
  AddIds(app, "--allowed-ids", params.allowed_ids, "Only these tokens may be drawn");
  AddIds(app, "--banned-ids", params.banned_ids, "These tokens are never drawn");
  AddSequences(
      app, "--bad-words", [&params](auto sequences) { params.bad_words = std::move(sequences); },
      "Sequences that are never completed");
  AddCount(app, "--min-tokens", params.min_tokens, "Below step N stop ids are banned [0]",
           kAdjustments, 0, kZeroIsOff);
  AddIds(app, "--stop-ids", params.stop_ids, "The tokens that --min-tokens bans");
  AddBiasFlag(app, params);
  AddNumber(app, "--repetition-penalty", params.repetition_penalty, "R",
            "Divide what was said by R, or multiply below 0 [1]", kAdjustments);
  AddNumber(app, "--frequency-penalty", params.frequency_penalty, "F",
            "Take F for each time a token was put out [0]", kAdjustments);
  AddNumber(app, "--presence-penalty", params.presence_penalty, "F",
            "Take F from each token that was put out [0]", kAdjustments);
  AddNumbers(
      app, "--penalty-last-n", "N", 1, 1,
      [&params](const Numbers& n) { params.penalty_last_n = Whole<int32_t>(n[0]); },
      "The newest N tokens are penalised; -1 is all [-1]", kAdjustments);
  AddCount(app, "--no-repeat-ngram-size", params.no_repeat_ngram_size,
           "Ban what would repeat N tokens; 0 is off [0]", kAdjustments, 0, kZeroIsOff);
  AddNumbers(
      app, "--dry", "MULTIPLIER[:BASE[:ALLOWED[:LAST_N]]]", 1, 4,
      [&params](const Numbers& n) {
        if (!params.dry) params.dry = Dry();
        params.dry->multiplier = n[0];
        if (n.size() > 1) params.dry->base = n[1];
        if (n.size() > 2) params.dry->allowed_length = Whole<uint32_t>(n[2]);
        if (n.size() > 3) params.dry->last_n = Whole<int32_t>(n[3]);
      },
      "Take MULTIPLIER * BASE^(length - ALLOWED) from what repeats", kAdjustments);
  AddSequences(
      app, "--dry-breakers",
      [&params](auto sequences) {
        if (!params.dry) params.dry = Dry();
        params.dry->breakers = std::move(sequences);
      },
      "Sequences over which --dry finds no repetition");
}

}  // namespace

OutputOptions SamplingFlags::outputs() const {
  OutputOptions outputs = extra_outputs;
  outputs.logprobs = top_logprobs.has_value();
  outputs.top_logprobs = top_logprobs.value_or(0);
  return outputs;
}

void AddParamsFlags(CLI::App& app, SamplingParams& params) {
  AddDrawFlags(app, params);
  AddFilterFlags(app, params);
  AddAdjustmentFlags(app, params);
}

void AddLogprobsFlag(CLI::App& app, std::optional<uint32_t>& top_logprobs,
                     const std::string& description) {
  AddCount(app, "--logprobs", top_logprobs, description, kOutput);
}

void AddOutputFlags(CLI::App& app, SamplingFlags& flags) {
  OutputOptions& outputs = flags.extra_outputs;
  AddLogprobsFlag(app, flags.top_logprobs,
                  "Return the log-probability of each drawn token, and the N likeliest tokens");
  AddChoice<LogprobMode>(app, "--logprob-mode", outputs.logprob_mode,
                         {{"raw", LogprobMode::kRaw}, {"processed", LogprobMode::kProcessed}},
                         "Of the row as sent, or behind temperature and filters")
      ->default_str("raw")
      ->group(kOutput);
  app.add_flag("--ranks", outputs.ranks, "Return the rank of each drawn token")->group(kOutput);
  AddChoice<bool>(app, "--rank-mode", outputs.ranks_count_equals,
                  {{"greater", false}, {"greater-equal", true}},
                  "1 + the tokens that are likelier, or those at least as likely")
      ->default_str("greater")
      ->group(kOutput);
  app.add_flag("--kept-count", outputs.kept_count, "Return how many tokens the filters kept")
      ->group(kOutput);
  app.add_flag("--kept-set", outputs.kept_set, "Return which they are")->group(kOutput);
  app.add_flag("--entropy", outputs.entropy, "Return the entropy in nats")->group(kOutput);
  app.add_flag("--extremes", outputs.extremes, "Return the largest and the smallest probability")
      ->group(kOutput);
  AddNumber(app, "--gumbel-softmax", outputs.gumbel_softmax, "T",
            "Return a relaxed one-hot vector per draw, at temperature T; needs --format json",
            kOutput);
}

void AddSamplingFlags(CLI::App& app, SamplingFlags& flags) {
  AddParamsFlags(app, flags.params);
  AddHistoryFlags(app, flags.history);
  AddOutputFlags(app, flags);
}

}  // namespace token_sampler::client
