// Tests which parameters are refused, and that the message names field, row, value and range.

#include "sampler/params/sampling_params.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "sampler/params/stage_table.h"

namespace token_sampler {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Case {
  const char* name;
  std::function<void(SamplingParams&)> change;
  InputKind kind;
  const char* message;  // empty: accepted
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class ValidateParamsTest : public testing::TestWithParam<Case> {};

TEST_P(ValidateParamsTest, AcceptsOrNamesTheFieldItRejects) {
  SamplingParams params;
  GetParam().change(params);
  const absl::Status status =
      ValidateParams(params, GetParam().kind, 100, {.profile = "params[3]", .row = 7});
  if (GetParam().message[0] == '\0') {
    EXPECT_TRUE(status.ok()) << status;
  } else {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), GetParam().message);
  }
}

constexpr InputKind kLogits = InputKind::kLogits;
constexpr InputKind kWeights = InputKind::kWeights;

INSTANTIATE_TEST_SUITE_P(
    All, ValidateParamsTest,
    testing::Values(
        Case{"defaults", [](SamplingParams&) {}, kLogits, ""},
        Case{"greedy", [](SamplingParams& p) { p.temperature = 0; }, kLogits, ""},
        Case{"ends",
             [](SamplingParams& p) {
               p = {.temperature = 1e6,
                    .num_samples = 100,
                    .top_k = 0xffffffff,
                    .top_p = 0.0,
                    .min_p = 1.0};
             },
             kLogits, ""},
        Case{"coldest", [](SamplingParams& p) { p.temperature = 1e-6; }, kLogits, ""},
        Case{"many_with_replacement",
             [](SamplingParams& p) {
               p.num_samples = (1 << 24) - 1;
               p.replacement = true;
             },
             kLogits, ""},
        Case{"too_cold", [](SamplingParams& p) { p.temperature = 1e-7; }, kLogits,
             "params[3].temperature of row 7 must be 0 or in [1e-6, 1e6], got 1e-07"},
        Case{"negative_temperature", [](SamplingParams& p) { p.temperature = -1; }, kLogits,
             "params[3].temperature of row 7 must be 0 or in [1e-6, 1e6], got -1"},
        Case{"nan_temperature", [](SamplingParams& p) { p.temperature = kNan; }, kLogits,
             "params[3].temperature of row 7 must be 0 or in [1e-6, 1e6], got nan"},
        Case{"infinite_temperature", [](SamplingParams& p) { p.temperature = kInfinity; }, kLogits,
             "params[3].temperature of row 7 must be 0 or in [1e-6, 1e6], got inf"},
        Case{"temperature_of_weights", [](SamplingParams& p) { p.temperature = 0.5; }, kWeights,
             "params[3].temperature of row 7 must be 0 or 1 with weights, to which no softmax "
             "applies, got 0.5"},
        Case{"greedy_weights", [](SamplingParams& p) { p.temperature = 0; }, kWeights, ""},
        Case{"no_draws", [](SamplingParams& p) { p.num_samples = 0; }, kWeights,
             "params[3].num_samples of row 7 must be in [1, 16777215], got 0"},
        Case{"too_many_draws",
             [](SamplingParams& p) {
               p.num_samples = 1 << 24;
               p.replacement = true;
             },
             kLogits, "params[3].num_samples of row 7 must be in [1, 16777215], got 16777216"},
        Case{"more_draws_than_categories", [](SamplingParams& p) { p.num_samples = 101; }, kWeights,
             "params[3].num_samples of row 7 must be at most the 100 tokens of the row without "
             "replacement, got 101"},
        Case{"top_p_above_1", [](SamplingParams& p) { p.top_p = 1.5; }, kLogits,
             "params[3].top_p of row 7 must be in [0, 1], got 1.5"},
        Case{"top_p_nan", [](SamplingParams& p) { p.top_p = kNan; }, kLogits,
             "params[3].top_p of row 7 must be in [0, 1], got nan"},
        Case{"epsilon_of_1", [](SamplingParams& p) { p.epsilon_cutoff = 1; }, kLogits,
             "params[3].epsilon_cutoff of row 7 must be in [0, 1), got 1"},
        Case{"xtc_probability", [](SamplingParams& p) { p.xtc_probability = 1.5; }, kLogits,
             "params[3].xtc.probability of row 7 must be in [0, 1], got 1.5"},
        Case{"xtc_threshold", [](SamplingParams& p) { p.xtc_threshold = kNan; }, kLogits,
             "params[3].xtc.threshold of row 7 must be in [0, 1], got nan"},
        Case{"keep_none", [](SamplingParams& p) { p.min_tokens_to_keep = 0; }, kLogits,
             "params[3].min_tokens_to_keep of row 7 must be at least 1, got 0"},
        Case{"order_without_a_stage_that_is_on",
             [](SamplingParams& p) {
               p.top_k = 5;
               p.stage_order = StageOrder(Stage::kTemperature, Stage::kTopP);
             },
             kLogits, "params[3].stage_order of row 7 must name TOP_K, which is on"},
        Case{"typical_of_none", [](SamplingParams& p) { p.typical_p = 0; }, kLogits,
             "params[3].typical_p of row 7 must be in (0, 1], got 0"},
        Case{"eta_of_all", [](SamplingParams& p) { p.eta_cutoff = 1; }, kLogits,
             "params[3].eta_cutoff of row 7 must be in [0, 1), got 1"},
        Case{"negative_sigma", [](SamplingParams& p) { p.top_n_sigma = -1; }, kLogits,
             "params[3].top_n_sigma of row 7 must be in [0, 1e6], got -1"},
        Case{
            "sigma_of_weights", [](SamplingParams& p) { p.top_n_sigma = 1; }, kWeights,
            "params[3].top_n_sigma of row 7 must be off with weights, which are not logits, got 1"},
        Case{"mirostat_3", [](SamplingParams& p) { p.mirostat = Mirostat{.version = 3}; }, kLogits,
             "params[3].mirostat.version of row 7 must be in [1, 2], got 3"},
        Case{"mirostat_tau", [](SamplingParams& p) { p.mirostat = Mirostat{.tau = kInfinity}; },
             kLogits, "params[3].mirostat.tau of row 7 must be in (0, 1000], got inf"},
        Case{"mirostat_eta", [](SamplingParams& p) { p.mirostat = Mirostat{.eta = 0}; }, kLogits,
             "params[3].mirostat.eta of row 7 must be in (0, 1], got 0"},
        Case{"mirostat_beside_adaptive_p",
             [](SamplingParams& p) {
               p.mirostat = Mirostat{};
               p.adaptive_p = AdaptiveP{};
             },
             kLogits, "params[3].adaptive_p of row 7 must not be set together with mirostat"},
        Case{"adaptive_p_decay", [](SamplingParams& p) { p.adaptive_p = AdaptiveP{.decay = 1}; },
             kLogits, "params[3].adaptive_p.decay of row 7 must be in [0, 0.99], got 1"},
        Case{"top_p_decay_min", [](SamplingParams& p) { p.top_p_decay = TopPDecay{.min = 0}; },
             kLogits, "params[3].top_p_decay.min of row 7 must be in (0, 1], got 0"},
        Case{"top_p_decay_reset",
             [](SamplingParams& p) { p.top_p_decay = TopPDecay{.reset_ids = {100}}; }, kLogits,
             "params[3].top_p_decay.reset_ids[0] of row 7 must be below the vocabulary of 100, got "
             "100"},
        Case{"stop_id",
             [](SamplingParams& p) {
               p.stop_ids = {1, 100};
             },
             kLogits,
             "params[3].stop_ids[1] of row 7 must be below the vocabulary of 100, got 100"},
        Case{
            "bad_word",
            [](SamplingParams& p) {
              p.bad_words = {{1}, {2, 100}};
            },
            kLogits,
            "params[3].bad_words[1].token_ids[1] of row 7 must be below the vocabulary of 100, got "
            "100"},
        Case{"state_of_many_draws",
             [](SamplingParams& p) {
               p.mirostat = Mirostat{};
               p.num_samples = 2;
             },
             kLogits,
             "params[3].num_samples of row 7 must be 1 with mirostat, whose state follows one "
             "token, "
             "got 2"},
        Case{"schedule_to_zero",
             [](SamplingParams& p) { p.temperature_schedule = TemperatureSchedule{.end = 0}; },
             kLogits, ""},
        Case{"exponential_schedule_to_zero",
             [](SamplingParams& p) {
               p.temperature_schedule =
                   TemperatureSchedule{TemperatureSchedule::Kind::kExponential, 1, 0, 5};
             },
             kLogits, "params[3].temperature_schedule.end of row 7 must be in [1e-6, 1e6], got 0"},
        Case{
            "schedule_without_steps",
            [](SamplingParams& p) { p.temperature_schedule = TemperatureSchedule{.num_steps = 0}; },
            kLogits, "params[3].temperature_schedule.num_steps of row 7 must be at least 1, got 0"},
        Case{"schedule_of_weights",
             [](SamplingParams& p) { p.temperature_schedule = TemperatureSchedule{}; }, kWeights,
             "params[3].temperature_schedule of row 7 must not be set with weights, to which no "
             "softmax applies"},
        Case{"dynamic_temperature",
             [](SamplingParams& p) { p.dynamic_temperature = DynamicTemperature{.range = -1}; },
             kLogits, "params[3].dynamic_temperature.range of row 7 must be in [0, 1e6], got -1"},
        Case{"greedy_threshold", [](SamplingParams& p) { p.greedy_threshold = 0.0; }, kLogits,
             "params[3].greedy_threshold of row 7 must be in (0, 1], got 0"},
        Case{"last_n", [](SamplingParams& p) { p.penalty_last_n = -2; }, kLogits,
             "params[3].penalty_last_n of row 7 must be at least -1, got -2"},
        Case{"dry_base", [](SamplingParams& p) { p.dry.base = .5; }, kLogits,
             "params[3].dry.base of row 7 must be in [1, 1e6], got 0.5"},
        Case{
            "dry_of_weights", [](SamplingParams& p) { p.dry.multiplier = 1; }, kWeights,
            "params[3].dry.multiplier of row 7 must be off with weights, which are not logits, got "
            "1"},
        Case{"dry_breaker", [](SamplingParams& p) { p.dry.breakers = {{}}; }, kLogits,
             "params[3].dry.breakers[0].token_ids of row 7 must be of 1 to 32 tokens, got 0"},
        Case{"dry_breakers", [](SamplingParams& p) { p.dry.breakers.assign(65, {1}); }, kLogits,
             "params[3].dry.breakers of row 7 must be at most 64, got 65"},
        Case{"order_without_a_stage_that_is_off",
             [](SamplingParams& p) { p.stage_order = StageOrder(Stage::kTopP); }, kLogits, ""},
        Case{"joint_top_k_beside_top_k",
             [](SamplingParams& p) { p.stage_order = StageOrder(Stage::kTopKTopP, Stage::kTopK); },
             kLogits,
             "params[3].stage_order of row 7 must not name TOP_K or TOP_P together with "
             "TOP_K_TOP_P"},
        Case{"joint_stage_takes_both",
             [](SamplingParams& p) {
               p.top_k = 5;
               p.top_p = .5;
               p.stage_order = kSglangOrder;
             },
             kLogits, ""},
        // llama.cpp accepts it, and keeps the likeliest token.
        Case{"min_p_above_1", [](SamplingParams& p) { p.min_p = 1.05; }, kLogits,
             "params[3].min_p of row 7 must be in [0, 1], got 1.05"},
        Case{"min_p_below_0", [](SamplingParams& p) { p.min_p = -0.1; }, kLogits,
             "params[3].min_p of row 7 must be in [0, 1], got -0.1"}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(ValidateParamsMessageTest, LeavesOutAnUnknownRow) {
  SamplingParams params;
  params.top_p = 2;
  EXPECT_EQ(ValidateParams(params, kLogits, 5, {}).message(),
            "params.top_p must be in [0, 1], got 2");
}

TEST(ShortenListsTest, NamesEachTokenOnce) {
  SamplingParams params;
  params.allowed_ids = {9, 3, 9, 3, 1};
  params.banned_ids = {7, 7, 7};
  params.stop_ids = {5, 4, 5};
  params.bad_words = {{7}, {1, 2}, {8}, {3}};
  ShortenLists(10, params);
  EXPECT_EQ(params.allowed_ids, (std::vector<uint32_t>{9, 3, 1}));
  EXPECT_EQ(params.banned_ids, (std::vector<uint32_t>{7, 8, 3}));
  EXPECT_EQ(params.stop_ids, (std::vector<uint32_t>{5, 4}));
  EXPECT_EQ(params.bad_words, (std::vector<std::vector<uint32_t>>{{1, 2}}));
}

}  // namespace
}  // namespace token_sampler
