#include "client/cli/flags/sampling_flags.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/flags/flags.h"

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

// "--top-p" of the field top_p.
std::string FlagName(const ScalarDescription& description) {
  return absl::StrCat("--", absl::StrReplaceAll(description.name, {{"_", "-"}}));
}

const char* GroupName(ScalarDescription::Group group) {
  switch (group) {
    case ScalarDescription::Group::kDraw:
      return kDraw;
    case ScalarDescription::Group::kFilter:
      return kFilters;
    case ScalarDescription::Group::kAdjustment:
      return kAdjustments;
  }
  return kDraw;
}

CLI::Validator IsNumber() {
  return CLI::Validator(
      [](const std::string& text) {
        double number = 0.0;
        return absl::SimpleAtod(text, &number) ? "" : absl::StrCat("must be a number, got ", text);
      },
      "");
}

CLI::Option* AddScalar(CLI::App& app, std::optional<double>& value,
                       const ScalarDescription& description) {
  return app.add_option(FlagName(description), value, description.help)->check(IsNumber());
}

// Engines write -1 for what 0 turns off here.
CLI::Option* AddScalar(CLI::App& app, std::optional<uint32_t>& value,
                       const ScalarDescription& description) {
  const bool zero_is_off = absl::StrContains(description.help, kZeroIsOff);
  return app.add_option(FlagName(description), value, description.help)
      ->check(WholeNumber(0, UINT32_MAX, zero_is_off ? kZeroIsOff : ""));
}

CLI::Option* AddScalar(CLI::App& app, std::optional<int32_t>& value,
                       const ScalarDescription& description) {
  const std::string name = FlagName(description);
  return app.add_option_function<std::string>(
      name,
      [name, &value](const std::string& text) {
        double number = 0.0;
        if (!absl::SimpleAtod(text, &number)) {
          throw CLI::ValidationError(name, absl::StrCat("must be a number, got ", text));
        }
        try {
          value = Whole<int32_t>(number);
        } catch (const CLI::ValidationError& error) {
          throw CLI::ValidationError(name, error.what());
        }
      },
      description.help);
}

CLI::Option* AddScalar(CLI::App& app, std::optional<bool>& value,
                       const ScalarDescription& description) {
  return app.add_flag_callback(
      FlagName(description), [&value] { value = true; }, description.help);
}

// The flags of all parameters of a group that are one number or switch.
void AddScalars(CLI::App& app, SamplingParams& params, ScalarDescription::Group group) {
  ForEachScalar(params, [&](auto& member, const ScalarDescription& description) {
    if (description.group != group) return;
    CLI::Option* const option = AddScalar(app, member, description)->group(GroupName(group));
    if (*description.value_name != '\0') option->type_name(description.value_name);
  });
}

void AddDrawFlags(CLI::App& app, SamplingParams& params) {
  AddScalars(app, params, ScalarDescription::Group::kDraw);
  AddNumbers(
      app, "--temperature-linear", "BEGIN:END:STEPS", 3, 3,
      [&params](const Numbers& n) {
        params.temperature_schedule = {false, n[0], n[1], Whole<uint32_t>(n[2])};
      },
      "Move the temperature from BEGIN to END over STEPS steps", kDraw);
  AddNumbers(
      app, "--temperature-exponential", "BEGIN:END:STEPS", 3, 3,
      [&params](const Numbers& n) {
        params.temperature_schedule = {true, n[0], n[1], Whole<uint32_t>(n[2])};
      },
      "The same by a constant factor per step", kDraw);
  AddNumbers(
      app, "--dynamic-temperature", "RANGE[:EXPONENT]", 1, 2,
      [&params](const Numbers& n) {
        params.dynamic_temperature = {n[0], n.size() > 1 ? n[1] : DynamicTemperature().exponent};
      },
      "Let the temperature follow the entropy, +- RANGE", kDraw);
  AddChoice<InvalidValuePolicy>(app, "--invalid-values", params.invalid_values,
                                {{"fail", InvalidValuePolicy::kFail},
                                 {"sanitize", InvalidValuePolicy::kSanitize},
                                 {"uniform", InvalidValuePolicy::kSanitizeUniform}},
                                "What to do with NaN and infinities [fail]")
      ->group(kDraw);
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
             const auto* const named =
                 std::find_if(std::begin(kNamedStages), std::end(kNamedStages),
                              [&](const NamedStage& stage) { return stage.name == name; });
             if (named == std::end(kNamedStages)) {
               throw CLI::ValidationError(
                   "--stage-order",
                   absl::StrCat("must name stages of ",
                                absl::StrJoin(kNamedStages, ", ",
                                              [](std::string* out, const NamedStage& stage) {
                                                out->append(stage.name);
                                              }),
                                ", got ", name));
             }
             params.stage_order.push_back(named->stage);
           }
         },
         "The stages, in order, instead of a preset")
      ->type_name("STAGE,...")
      ->group(kFilters);
}

void AddFilterFlags(CLI::App& app, SamplingParams& params) {
  AddScalars(app, params, ScalarDescription::Group::kFilter);
  AddChoice<TiePolicy>(app, "--top-k-ties", params.top_k_ties,
                       {{"exact", TiePolicy::kExactlyK}, {"all", TiePolicy::kKeepAll}},
                       "Keep exactly K tokens, or also those that tie with the last [exact]")
      ->group(kFilters);
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
         "Tokens after which --top-p-decay restarts")
      ->type_name("ID,ID,...")
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
  AddScalars(app, params, ScalarDescription::Group::kAdjustment);
  AddIds(app, "--allowed-ids", params.allowed_ids, "Only these tokens may be drawn");
  AddIds(app, "--banned-ids", params.banned_ids, "These tokens are never drawn");
  AddSequences(
      app, "--bad-words", [&params](auto sequences) { params.bad_words = std::move(sequences); },
      "Sequences that are never completed");
  AddIds(app, "--stop-ids", params.stop_ids, "The tokens that --min-tokens bans");
  AddBiasFlag(app, params);
  AddNumbers(
      app, "--dry", "MULTIPLIER[:BASE[:ALLOWED[:LAST_N]]]", 1, 4,
      [&params](const Numbers& n) {
        if (!params.dry) params.dry = Dry();
        params.dry->multiplier = n[0];
        if (n.size() > 1) params.dry->base = n[1];
        if (n.size() > 2) params.dry->allowed_length = Whole<uint32_t>(n[2]);
        if (n.size() > 3) params.dry->last_n = Whole<int32_t>(n[3]);
      },
      "Subtract MULTIPLIER * BASE^(length - ALLOWED) from logits that extend a repetition",
      kAdjustments);
  AddSequences(
      app, "--dry-breakers",
      [&params](auto sequences) {
        if (!params.dry) params.dry = Dry();
        params.dry->breakers = std::move(sequences);
      },
      "Sequences across which --dry finds no repetition");
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
  app.add_option("--logprobs", top_logprobs, description)
      ->type_name("N")
      ->group(kOutput)
      ->check(WholeNumber(0, UINT32_MAX));
}

void AddOutputFlags(CLI::App& app, SamplingFlags& flags) {
  OutputOptions& outputs = flags.extra_outputs;
  AddLogprobsFlag(app, flags.top_logprobs,
                  "Return the log-probability of each drawn token, and the N likeliest tokens");
  AddChoice<LogprobMode>(app, "--logprob-mode", outputs.logprob_mode,
                         {{"raw", LogprobMode::kRaw}, {"processed", LogprobMode::kProcessed}},
                         "Log-probabilities of the row as sent, or after temperature and filters")
      ->default_str("raw")
      ->group(kOutput);
  app.add_flag("--ranks", outputs.ranks, "Return the rank of each drawn token")->group(kOutput);
  AddChoice<bool>(
      app, "--rank-mode", outputs.ranks_count_equals, {{"greater", false}, {"greater-equal", true}},
      "Rank as 1 + the number of likelier tokens, or as the number of tokens at least as likely")
      ->default_str("greater")
      ->group(kOutput);
  app.add_flag("--kept-count", outputs.kept_count, "Return how many tokens the filters kept")
      ->group(kOutput);
  app.add_flag("--kept-set", outputs.kept_set, "Return the tokens that the filters kept")
      ->group(kOutput);
  app.add_flag("--entropy", outputs.entropy, "Return the entropy in nats")->group(kOutput);
  app.add_flag("--extremes", outputs.extremes, "Return the largest and the smallest probability")
      ->group(kOutput);
  app.add_option("--gumbel-softmax", outputs.gumbel_softmax,
                 "Return a relaxed one-hot vector per draw, at temperature T; needs --format json")
      ->type_name("T")
      ->group(kOutput)
      ->check(IsNumber());
}

void AddSamplingFlags(CLI::App& app, SamplingFlags& flags) {
  AddParamsFlags(app, flags.params);
  AddHistoryFlags(app, flags.history);
  AddOutputFlags(app, flags);
}

}  // namespace token_sampler::client
