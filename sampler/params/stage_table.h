// All stages and their properties. A new stage is a value of Stage and a row of kStages here, a
// function in the reference pipeline (stages.cc) and one in the CPU sampler (cpu/): all other code
// that depends on the stage reads the table. sampler/ADDING_A_STAGE.md has the steps.

#ifndef TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_TABLE_H_
#define TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "sampler/params/sampling_params.h"
#include "sampler/params/stage_order.h"

namespace token_sampler {

// Numbers are those of token_sampler.v1.Stage.
enum class Stage : uint8_t {
  kTemperature = 1,
  kMinP = 2,
  kTopK = 3,
  kTopP = 4,
  kTypical = 5,
  kEpsilon = 6,
  kEta = 7,
  kTopNSigma = 8,
  kPLess = 9,
  kXtc = 10,
  kMirostat = 11,
  kAdaptiveP = 12,
  kTopKTopP = 13,  // both act on the same masses: top-p does not renormalise after top-k
  kTopA = 14,
};

// The kind of work that a stage does, on which its cost depends.
enum class StageFamily : uint8_t {
  kTemperature,  // weighs the tokens again
  kCount,        // keeps a number of tokens
  kMass,         // keeps the first tokens, up to a mass
  kWeight,       // keeps the tokens of at least a weight
  kList,         // reads each token that is left
  kListTwice,    // the same, twice
};

struct StageInfo {
  Stage stage;
  absl::string_view name;  // of token_sampler.v1.Stage, without its prefix
  StageFamily family;
  // True if the stage acts with these parameters.
  bool (*is_on)(const SamplingParams&);
  // True if the first token of the order always survives the stage: greedy rows can skip it.
  bool keeps_first = true;
  // True if the stage changes the values of tokens that it keeps, or removes tokens other than the
  // last of the order.
  bool remakes = false;
  // True if the stage, with these parameters, carries state from one step to the next; null: it
  // never does.
  bool (*has_state)(const SamplingParams&) = nullptr;
  // The name of the parameter with which it does.
  absl::string_view state_param = "";
};

// In the default order, that of kVllmOrder. OrderOf appends the stages that an engine lacks in this
// order.
inline constexpr StageInfo kStages[] = {
    {.stage = Stage::kTemperature,
     .name = "TEMPERATURE",
     .family = StageFamily::kTemperature,
     .is_on =
         [](const SamplingParams& p) {
           return p.temperature != 1.0 || p.temperature_schedule.has_value() ||
                  p.dynamic_temperature.has_value() || p.greedy_threshold.has_value();
         }},
    {.stage = Stage::kMinP,
     .name = "MIN_P",
     .family = StageFamily::kWeight,
     .is_on = [](const SamplingParams& p) { return p.min_p != 0.0; }},
    {.stage = Stage::kTopK,
     .name = "TOP_K",
     .family = StageFamily::kCount,
     .is_on = [](const SamplingParams& p) { return p.top_k != 0; }},
    {.stage = Stage::kTopP,
     .name = "TOP_P",
     .family = StageFamily::kMass,
     .is_on = [](const SamplingParams& p) { return p.top_p != 1.0 || p.top_p_decay.has_value(); },
     .has_state = [](const SamplingParams& p) { return p.top_p_decay.has_value(); },
     .state_param = "top_p_decay"},
    {.stage = Stage::kTypical,
     .name = "TYPICAL_P",
     .family = StageFamily::kListTwice,
     .is_on = [](const SamplingParams& p) { return p.typical_p != 1.0; },
     .keeps_first = false,
     .remakes = true},
    {.stage = Stage::kEpsilon,
     .name = "EPSILON",
     .family = StageFamily::kWeight,
     .is_on = [](const SamplingParams& p) { return p.epsilon_cutoff != 0.0; }},
    {.stage = Stage::kEta,
     .name = "ETA",
     .family = StageFamily::kList,
     .is_on = [](const SamplingParams& p) { return p.eta_cutoff != 0.0; }},
    {.stage = Stage::kTopNSigma,
     .name = "TOP_N_SIGMA",
     .family = StageFamily::kList,
     .is_on = [](const SamplingParams& p) { return p.top_n_sigma != 0.0; }},
    {.stage = Stage::kTopA,
     .name = "TOP_A",
     .family = StageFamily::kWeight,
     .is_on = [](const SamplingParams& p) { return p.top_a != 0.0; }},
    {.stage = Stage::kPLess,
     .name = "P_LESS",
     .family = StageFamily::kListTwice,
     .is_on = [](const SamplingParams& p) { return p.p_less; }},
    {.stage = Stage::kXtc,
     .name = "XTC",
     .family = StageFamily::kListTwice,
     .is_on = [](const SamplingParams& p) { return p.xtc_probability != 0.0; },
     .keeps_first = false,
     .remakes = true},
    {.stage = Stage::kMirostat,
     .name = "MIROSTAT",
     .family = StageFamily::kList,
     .is_on = [](const SamplingParams& p) { return p.mirostat.has_value(); },
     .keeps_first = false,
     .has_state = [](const SamplingParams& p) { return p.mirostat.has_value(); },
     .state_param = "mirostat"},
    {.stage = Stage::kAdaptiveP,
     .name = "ADAPTIVE_P",
     .family = StageFamily::kListTwice,
     .is_on = [](const SamplingParams& p) { return p.adaptive_p.has_value(); },
     .keeps_first = false,
     .remakes = true,
     .has_state = [](const SamplingParams& p) { return p.adaptive_p.has_value(); },
     .state_param = "adaptive_p"},
    {.stage = Stage::kTopKTopP,
     .name = "TOP_K_TOP_P",
     .family = StageFamily::kMass,
     .is_on =
         [](const SamplingParams& p) {
           return p.top_k != 0 || p.top_p != 1.0 || p.top_p_decay.has_value();
         }},
};
inline constexpr size_t kNumStages = sizeof(kStages) / sizeof(kStages[0]);

namespace stage_table_internal {

// The index in kStages of each stage's row, by the stage's number.
constexpr std::array<uint8_t, kNumStages + 1> Places() {
  std::array<uint8_t, kNumStages + 1> places{};
  for (size_t i = 0; i < kNumStages; ++i) {
    places[static_cast<size_t>(kStages[i].stage)] = static_cast<uint8_t>(i);
  }
  return places;
}
inline constexpr std::array<uint8_t, kNumStages + 1> kPlaces = Places();

// True if each number from 1 to kNumStages has exactly one row.
constexpr bool HasEachOnce() {
  for (size_t i = 0; i < kNumStages; ++i) {
    if (kPlaces[static_cast<size_t>(kStages[i].stage)] != i) return false;
  }
  return true;
}

}  // namespace stage_table_internal

static_assert(stage_table_internal::HasEachOnce());
static_assert(kNumStages <= StageOrder::kMaxStages);

constexpr const StageInfo& InfoOf(Stage stage) {
  return kStages[stage_table_internal::kPlaces[static_cast<size_t>(stage)]];
}

// The name in token_sampler.v1.Stage without its prefix: "TOP_K".
constexpr absl::string_view StageName(Stage stage) { return InfoOf(stage).name; }

inline bool StageIsOn(const SamplingParams& params, Stage stage) {
  return InfoOf(stage).is_on(params);
}

// The most stages that may remake one row.
inline constexpr size_t kNumRemakingStages = [] {
  size_t count = 0;
  for (const StageInfo& info : kStages) count += info.remakes ? 1 : 0;
  return count;
}();

// Returns an order of an engine's stages, followed by the stages that it lacks. If the engine has
// the joint stage, top-k and top-p are not appended.
template <typename... Stages>
constexpr StageOrder OrderOf(Stages... stages) {
  StageOrder order(stages...);
  const bool joint = order.Contains(Stage::kTopKTopP);
  for (const StageInfo& info : kStages) {
    if (info.stage == Stage::kTopKTopP) continue;
    if (joint && (info.stage == Stage::kTopK || info.stage == Stage::kTopP)) continue;
    order.Add(info.stage);
  }
  return order;
}

// The orders of engines.
inline constexpr StageOrder kVllmOrder = OrderOf();
inline constexpr StageOrder kHfOrder =
    OrderOf(Stage::kTemperature, Stage::kTopK, Stage::kTopP, Stage::kMinP);
inline constexpr StageOrder kLlamaCppOrder =
    OrderOf(Stage::kTopNSigma, Stage::kTopK, Stage::kTypical, Stage::kTopP, Stage::kMinP,
            Stage::kXtc, Stage::kTemperature);
inline constexpr StageOrder kSglangOrder =
    OrderOf(Stage::kTemperature, Stage::kTopKTopP, Stage::kMinP);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PARAMS_STAGE_TABLE_H_
