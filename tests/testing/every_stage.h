// Every stage with settings that turn it on, and rows whose answers are known: the one catalogue
// for tests that go over all stages. every_stage_test holds it to the table of stages.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_EVERY_STAGE_H_
#define TOKEN_SAMPLER_TESTS_TESTING_EVERY_STAGE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sampler/params/stage_table.h"

namespace token_sampler::testing {

// One way to turn a stage on.
struct StageSetting {
  std::string name;  // letters, digits and underscores
  Stage stage;
  // From the one that keeps the fewest tokens to the one that keeps the most.
  std::vector<double> strengths;
  std::function<void(double, SamplingParams&)> set;
  bool is_filter = true;  // whether it only keeps or removes tokens
};

inline const std::vector<StageSetting>& EveryStage() {
  using P = SamplingParams;
  static const std::vector<StageSetting> settings = {
      {"temperature",
       Stage::kTemperature,
       {.05, .7, 1.3, 1e6},
       [](double v, P& p) { p.temperature = v; },
       false},
      {"dynamic_temperature",
       Stage::kTemperature,
       {0, .5, 1e6},
       [](double v, P& p) {
         p.dynamic_temperature = DynamicTemperature{v, 1.5};
       },
       false},
      {"greedy_threshold",
       Stage::kTemperature,
       {.1, .5, 1},
       [](double v, P& p) { p.greedy_threshold = v; },
       false},
      {"min_p", Stage::kMinP, {1, .5, .1, .001}, [](double v, P& p) { p.min_p = v; }},
      {"top_k", Stage::kTopK, {1, 2, 7, 40}, [](double v, P& p) { p.top_k = uint32_t(v); }},
      {"top_k_ties",
       Stage::kTopK,
       {1, 2, 7, 40},
       [](double v, P& p) {
         p.top_k = uint32_t(v);
         p.top_k_ties = TiePolicy::kKeepAll;
       }},
      {"top_p", Stage::kTopP, {0, .2, .7, .95}, [](double v, P& p) { p.top_p = v; }},
      {"top_p_decay",
       Stage::kTopP,
       {.1, .2, .7, .95},
       [](double v, P& p) {
         p.top_p = v;
         p.top_p_decay = TopPDecay{.decay = .5};
       }},
      {"typical_p",
       Stage::kTypical,
       {.01, .2, .3, .8, .9, .99, .999},
       [](double v, P& p) { p.typical_p = v; }},
      {"epsilon",
       Stage::kEpsilon,
       {.9, .3, .1, .01, .001, 1e-6},
       [](double v, P& p) { p.epsilon_cutoff = v; }},
      {"eta",
       Stage::kEta,
       {.9, .1, .01, 1e-4, 1e-6, 1e-310},
       [](double v, P& p) { p.eta_cutoff = v; }},
      {"top_n_sigma", Stage::kTopNSigma, {.1, .5, 1, 3}, [](double v, P& p) { p.top_n_sigma = v; }},
      {"top_a", Stage::kTopA, {1, .5, .1, .001}, [](double v, P& p) { p.top_a = v; }},
      {"p_less", Stage::kPLess, {1}, [](double, P& p) { p.p_less = true; }},
      {"xtc",
       Stage::kXtc,
       {.001, .01, .1, .6},
       [](double v, P& p) {
         p.xtc_probability = 1;
         p.xtc_threshold = v;
       }},
      // Leaves only the least likely token that can be drawn, and those that weigh less.
      {"xtc_all",
       Stage::kXtc,
       {0},
       [](double v, P& p) {
         p.xtc_probability = 1;
         p.xtc_threshold = v;
       },
       false},
      {"mirostat_1",
       Stage::kMirostat,
       {.5, 2, 5, 9},
       [](double v, P& p) { p.mirostat = Mirostat{.version = 1, .tau = v}; }},
      {"mirostat_2",
       Stage::kMirostat,
       {.5, 2, 5, 9},
       [](double v, P& p) { p.mirostat = Mirostat{.version = 2, .tau = v}; }},
      {"adaptive_p",
       Stage::kAdaptiveP,
       {0, .3, 1},
       [](double v, P& p) { p.adaptive_p = AdaptiveP{.target = v}; },
       false},
      {"top_k_top_p",
       Stage::kTopKTopP,
       {1, 2, 7, 40},
       [](double v, P& p) {
         p.top_k = uint32_t(v);
         p.stage_order = kSglangOrder;
       }},
  };
  return settings;
}

// A row of plain weights or of their logarithms, of which a stage keeps tokens with these
// probabilities.
struct KnownAnswer {
  std::string name;
  std::vector<float> weights;  // 0: masked
  SamplingParams params;
  std::map<uint32_t, double> kept;
};

// Worked out by hand.
inline const std::vector<KnownAnswer>& KnownAnswers() {
  static const std::vector<KnownAnswer> answers = {
      {"min_p", {.1f, .2f, .3f, .4f}, {.min_p = .6}, {{2, .42857}, {3, .57143}}},
      {"epsilon",
       {.1f, .2f, .3f, .4f},
       {.epsilon_cutoff = .15},
       {{1, .22222}, {2, .33333}, {3, .44444}}},
      // p >= a * 0.4^2: 0.5 gives 0.08, 1 gives 0.16, 0.7 gives 0.112.
      {"top_a_half", {.1f, .2f, .3f, .4f}, {.top_a = .5}, {{0, .1}, {1, .2}, {2, .3}, {3, .4}}},
      {"top_a_one", {.1f, .2f, .3f, .4f}, {.top_a = 1}, {{1, .22222}, {2, .33333}, {3, .44444}}},
      {"top_a_between",
       {.1f, .2f, .3f, .4f},
       {.top_a = .7},
       {{1, .22222}, {2, .33333}, {3, .44444}}},
      // 0.064 is the least: the two of 0.05 go together.
      {"top_a_ties", {.8f, .05f, .05f, .1f}, {.top_a = .1}, {{0, .88889}, {3, .11111}}},
      {"top_a_masked", {0, .5f, .5f, 0}, {.top_a = 1}, {{1, .5}, {2, .5}}},
      {"top_a_alone", {0, 0, 1, 0}, {.top_a = 1}, {{2, 1}}},
      {"top_a_of_the_kept",
       {.1f, .2f, .3f, .4f},
       {.top_k = 3, .top_a = 1},
       {{1, .22222}, {2, .33333}, {3, .44444}}},
      {"top_a_with_a_minimum",
       {.97f, .01f, .01f, .01f},
       {.top_a = 1, .min_tokens_to_keep = 2},
       {{0, .98980}, {1, .01020}}},
  };
  return answers;
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_EVERY_STAGE_H_
