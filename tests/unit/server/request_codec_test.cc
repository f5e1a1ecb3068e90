// Tests what the server refuses, with which messages, and how it answers valid requests. There is a
// test for each error of torch.multinomial.

#include "server/codec/request_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>
#include <string>

#include "sampler/params/stage_table.h"
#include "sampler/reference/reference_sampler.h"
#include "server/codec/field_check.h"
#include "tests/testing/tensors.h"

namespace token_sampler {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Lt;
using ::testing::Not;
using ::testing::StartsWith;

const CallContext kContext = {.limits = {.max_rows = 8, .max_vocab = 1000}};

// Makes a request with two rows of three tokens, changed by fields in text format.
v1::SampleRequest Changed(const std::string& text) {
  v1::SampleRequest request;
  SetTensor(2, {1, 2, 3, 4, 5, 6}, *request.mutable_tensor());
  v1::SampleRequest change;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &change)) << text;
  request.MergeFrom(change);
  return request;
}

// The outcome of a request, sampled by the reference sampler through the codec.
struct Outcome {
  absl::Status status;
  v1::SampleResponse response;
};

Outcome Sample(const v1::SampleRequest& request) {
  Outcome outcome;
  DecodedSample decoded;
  outcome.status = CheckFields(request);
  if (outcome.status.ok()) outcome.status = DecodeSample(request, kContext, decoded);
  if (!outcome.status.ok()) return outcome;
  std::vector<RowResult> results(decoded.inputs.size());
  outcome.status = CreateReferenceSampler()->Sample(decoded.inputs, absl::MakeSpan(results));
  EncodeSample(decoded, results, outcome.response);
  return outcome;
}

struct Refusal {
  const char* name;
  const char* change;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* os) { *os << refusal.name; }

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, IsInvalidArgumentAndNamesWhatIsWrong) {
  const absl::Status status = Sample(Changed(GetParam().change)).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Tensor, RefusalTest,
    ::testing::Values(
        Refusal{"no_rows", "tensor { rows: 0 }", "tensor.rows must be in [1, 8], got 0"},
        Refusal{"too_many_rows", "tensor { rows: 9 }", "tensor.rows must be in [1, 8], got 9"},
        Refusal{"no_vocab", "tensor { vocab: 0 }", "tensor.vocab must be in [1, 1000], got 0"},
        Refusal{"too_much_vocab", "tensor { vocab: 1001 }",
                "tensor.vocab must be in [1, 1000], got 1001"},
        Refusal{"unspecified_type", "tensor { dtype: DATA_TYPE_UNSPECIFIED }",
                "tensor.dtype must be a floating-point type: FLOAT32, FLOAT16, BFLOAT16 or "
                "FLOAT64, got 0"},
        Refusal{"shape_and_bytes_disagree", "tensor { rows: 3 }",
                "tensor.data must have 36 bytes for [3, 3] values of FLOAT32, got 24"},
        Refusal{"type_and_bytes_disagree", "tensor { dtype: DATA_TYPE_FLOAT64 }",
                "tensor.data must have 48 bytes for [2, 3] values of FLOAT64, got 24"}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Params, RefusalTest,
    ::testing::Values(
        Refusal{"too_many_draws_in_all", "params { num_samples: 16777215 replacement: true }",
                "num_samples of all rows together must be at most 16777216, got 33554430"},
        Refusal{"no_stage", "params { stage_order: STAGE_UNSPECIFIED }",
                "params[0].stage_order[0] is not a stage of this server: STAGE_UNSPECIFIED"},
        Refusal{"temperature_twice",
                "params { temperature: 1 temperature_schedule { kind: KIND_LINEAR } }",
                "params[0] must not set both temperature and temperature_schedule"},
        Refusal{"schedule_without_kind", "params { temperature_schedule { begin: 1 } }",
                "params[0].temperature_schedule.kind must be set"},
        Refusal{"schedule_without_steps",
                "params { temperature_schedule { kind: KIND_LINEAR begin: 1 end: 2 } }",
                "params[0].temperature_schedule.num_steps must be set"},
        Refusal{"dynamic_without_range", "params { dynamic_temperature { exponent: 1 } }",
                "params[0].dynamic_temperature.range must be set"},
        Refusal{"mirostat_without_version", "params { mirostat { tau: 1 } }",
                "params[0].mirostat.version must be set"},
        Refusal{"adaptive_p_without_target", "params { adaptive_p { decay: 0.5 } }",
                "params[0].adaptive_p.target must be set"},
        Refusal{"top_p_decay_without_decay", "params { top_p_decay { min: 0.5 } }",
                "params[0].top_p_decay.decay must be set"},
        Refusal{"stage_twice", "params { stage_order: [STAGE_TOP_K, STAGE_TOP_K] }",
                "params[0].stage_order[1] names STAGE_TOP_K again"},
        Refusal{"preset_and_order",
                "params { stage_preset: STAGE_PRESET_HF stage_order: STAGE_TOP_K }",
                "params[0] must not set both stage_preset and stage_order"},
        Refusal{"bias_lengths", "params { logit_bias { token_ids: 1 } }",
                "params[0].logit_bias must have as many values as token_ids (1), got 0"},
        Refusal{"profiles_without_choice", "params { } params { }",
                "row_params must be set when there are several params: one index per row"},
        Refusal{"choices_for_other_rows", "params { } row_params: 0",
                "row_params must have one entry per row (2) or none, got 1"},
        Refusal{"choice_of_no_profile", "params { } row_params: [0, 1]",
                "row_params[1] must be an index into params, of which there are 1, got 1"}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Rest, RefusalTest,
    ::testing::Values(
        Refusal{"seeds", "keys { seeds: [1, 2, 3] }",
                "keys.seeds must have one entry per row (2), one for all, or none, got 3"},
        Refusal{"steps", "keys { steps: [1, 2, 3] }",
                "keys.steps must have one entry per row (2), one for all, or none, got 3"},
        Refusal{"streams", "keys { streams: [1, 2, 3] }",
                "keys.streams must have one entry per row (2), one for all, or none, got 3"},
        Refusal{"top_logprobs", "outputs { top_logprobs: 4 }",
                "outputs.top_logprobs must be at most the 3 tokens of a row, got 4"},
        Refusal{"gumbel_softmax_without_heat", "outputs { gumbel_softmax: 0 }",
                "outputs.gumbel_softmax must be in [1e-6, 1e6], got 0"},
        Refusal{"gumbel_softmax_of_too_much",
                "outputs { gumbel_softmax: 1 } params { num_samples: 8000000 replacement: true }",
                "outputs.gumbel_softmax must hold at most 16777216 values, would hold 48000000: "
                "draw fewer tokens, or send fewer rows"},
        Refusal{"states", "states { top_p: 0.5 }",
                "states must have one entry per row (2) or none, got 1"},
        Refusal{"history_lengths", "histories { prompt_ids { lengths: 1 token_ids: 1 } }",
                "histories.prompt_ids.lengths must have one entry per row (2), got 1"},
        Refusal{"history_sum", "histories { output_ids { lengths: [1, 2] token_ids: [1, 2] } }",
                "histories.output_ids.token_ids must have as many entries as its lengths sum up "
                "to, 3, got 2"},
        Refusal{"history_twice", "histories { prompt_ids { } prompt_set { } }",
                "histories must not set both prompt_ids and prompt_set"},
        Refusal{"counts",
                "histories { output_counts { lengths: [1, 0] token_ids: 1 counts: [1, 2] } }",
                "histories.output_counts.counts must have one entry per token id (1), got 2"},
        Refusal{"bitmask_size", "bitmask { words: 'abcd' }",
                "bitmask.words must have 8 bytes for 2 masks of 1 word, got 4"},
        Refusal{"bitmask_row", "bitmask { words: 'abcd' rows: 2 }",
                "bitmask.rows[0] must be below the 2 rows, got 2"},
        Refusal{"bitmask_row_twice", "bitmask { words: 'abcdabcd' rows: [1, 1] }",
                "bitmask.rows[1] names row 1 again"}),
    [](const auto& tested) { return tested.param.name; });

// The ranges of parameters, and what candidates must have, are tested where they are checked.
TEST(RefusalOfPartsTest, NamesRowAndField) {
  const auto refusal = [](const std::string& change) {
    const absl::Status status = Sample(Changed(change)).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << change;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal("params { num_samples: 0 }"), StartsWith("row 0: params[0].num_samples "));
  EXPECT_THAT(refusal("params { num_samples: 4 }"), StartsWith("row 0: params[0].num_samples "));
  EXPECT_THAT(refusal("params { top_p: 1.5 }"), StartsWith("row 0: params[0].top_p "));
  EXPECT_THAT(refusal("tensor { candidates { lengths: 1 } }"),
              StartsWith("tensor.candidates.lengths "));
}

TEST(RefusalOfPartsTest, AnAnswerThatCouldBeTooLargeIsNamedWithItsLimit) {
  DecodedSample decoded;
  EXPECT_EQ(
      DecodeSample(Changed("outputs { logprobs: true }"), {.limits = {.max_response_bytes = 500}},
                   decoded),
      absl::InvalidArgumentError(
          "the answer must have at most 500 bytes (--max-response-bytes), could have 528: ask for "
          "fewer outputs, draw fewer tokens, or send fewer rows"));
}

TEST(RefusalOfNewFieldsTest, UnknownFieldNumbersAreNamedAtAnyDepth) {
  v1::SampleRequest request = Changed("params { }");
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(77, 1);
  EXPECT_EQ(Sample(request).status.message(),
            "this server does not know field number 77 of SampleRequest");
  request = Changed("params { }");
  v1::SamplingParams& params = *request.mutable_params(0);
  params.GetReflection()->MutableUnknownFields(&params)->AddVarint(999, 1);
  EXPECT_EQ(Sample(request).status.message(),
            "this server does not know field number 999 of SamplingParams");
}

TEST(RefusalOfNewFieldsTest, UnknownEnumValuesAreNamed) {
  v1::SampleRequest request = Changed("");
  request.mutable_tensor()->set_dtype(static_cast<v1::DataType>(9));
  EXPECT_EQ(Sample(request).status.message(),
            "tensor.dtype must be one of DATA_TYPE_FLOAT32, DATA_TYPE_FLOAT16, "
            "DATA_TYPE_BFLOAT16, DATA_TYPE_FLOAT64, got 9");
}

TEST(RefusalOfNewFieldsTest, WhatIsMissing) {
  EXPECT_EQ(Sample(v1::SampleRequest()).status.message(), "tensor must be set");
  v1::SampleRequest request = Changed("");
  request.mutable_tensor()->clear_data();
  EXPECT_EQ(Sample(request).status.message(), "tensor.data must be set: the values of the rows");
}

// torch.multinomial raises for the whole batch; here only the invalid row fails.
TEST(RowErrorTest, OneBadRowFailsAlone) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  v1::SampleRequest request;
  SetTensor(6, {1, 2, 1, -1, 0, 0, 1, kNan, kInfinity, 1, 3, 0}, *request.mutable_tensor());
  request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  const Outcome outcome = Sample(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.token_counts(), ElementsAre(1, 0, 0, 0, 0, 1));
  ASSERT_EQ(outcome.response.row_statuses_size(), 4);
  const auto expect = [&](int i, uint32_t row, v1::RowCode code, const char* what) {
    const v1::RowStatus& status = outcome.response.row_statuses(i);
    EXPECT_EQ(status.row(), row);
    EXPECT_EQ(status.code(), code);
    EXPECT_THAT(status.message(), StartsWith(what));
  };
  expect(0, 1, v1::ROW_CODE_NEGATIVE, "weight of token 1 ");
  expect(1, 2, v1::ROW_CODE_ZERO_SUM, "every weight ");
  expect(2, 3, v1::ROW_CODE_NAN, "weight of token 1 ");
  expect(3, 4, v1::ROW_CODE_INFINITE, "weight of token 0 ");
}

TEST(RowErrorTest, ABadProfileFailsItsRowsAlone) {
  const Outcome outcome =
      Sample(Changed("params { } params { top_p: -1 } row_params: [0, 1] keys { seeds: 5 }"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.token_counts(), ElementsAre(1, 0));
  ASSERT_EQ(outcome.response.row_statuses_size(), 1);
  EXPECT_EQ(outcome.response.row_statuses(0).row(), 1u);
  EXPECT_EQ(outcome.response.row_statuses(0).code(), v1::ROW_CODE_INVALID_PARAMS);
  EXPECT_THAT(outcome.response.row_statuses(0).message(), StartsWith("row 1: params[1].top_p "));
}

TEST(KeysTest, AreSentBackOneEntryForAllOrEach) {
  const v1::SampleResponse response =
      Sample(Changed("keys { seeds: 18446744073709551615 steps: [3, 4] }")).response;
  EXPECT_THAT(response.seeds(), ElementsAre(UINT64_MAX, UINT64_MAX));
  EXPECT_THAT(response.steps(), ElementsAre(3, 4));
  EXPECT_THAT(response.streams(), ElementsAre(0, 1));
  EXPECT_EQ(response.spec_version(), kSpecVersion);
}

TEST(KeysTest, WithoutASeedEveryRowGetsOneThatRepeatsItsDraw) {
  const v1::SampleResponse first = Sample(Changed("")).response;
  EXPECT_NE(first.seeds(0), first.seeds(1));
  EXPECT_NE(first.seeds(0), Sample(Changed("")).response.seeds(0));
  v1::SampleRequest again = Changed("");
  again.mutable_keys()->mutable_seeds()->CopyFrom(first.seeds());
  EXPECT_THAT(Sample(again).response.token_ids(),
              ElementsAre(first.token_ids(0), first.token_ids(1)));
}

TEST(OutputsTest, DetailsAndKeptSetsAreThoseOfTheRow) {
  const v1::SampleResponse response =
      Sample(Changed("params { temperature: 0 } "
                     "outputs { logprobs: true top_logprobs: 2 ranks: true kept_count: true "
                     "kept_set: true extremes: true }"))
          .response;
  EXPECT_THAT(response.token_ids(), ElementsAre(2, 2));
  ASSERT_EQ(response.details_size(), 2);
  const v1::RowDetail& detail = response.details(1);
  EXPECT_EQ(detail.row(), 1u);
  EXPECT_EQ(detail.logprobs_size(), 1);
  EXPECT_THAT(detail.ranks(), ElementsAre(1));
  EXPECT_THAT(detail.top_token_ids(), ElementsAre(2, 1));
  EXPECT_EQ(detail.kept_count(), 1u);
  EXPECT_GT(detail.max_probability(), detail.min_probability());
  EXPECT_THAT(response.kept_sets().offsets(), ElementsAre(0, 1, 2));
  EXPECT_THAT(response.kept_sets().token_ids(), ElementsAre(2, 2));
}

TEST(OutputsTest, NothingThatWasNotAskedFor) {
  const v1::SampleResponse response = Sample(Changed("")).response;
  EXPECT_EQ(response.details_size(), 0);
  EXPECT_FALSE(response.has_kept_sets());
  EXPECT_EQ(response.row_statuses_size(), 0);
}

TEST(AdjustmentsTest, ReachTheirRows) {
  // The mask of row 0 allows only token 1. The history of row 1 bans its greedy token 2.
  const v1::SampleResponse response =
      Sample(Changed("params { temperature: 0 no_repeat_ngram_size: 1 } "
                     "bitmask { words: '\\002\\000\\000\\000' rows: 0 } "
                     "histories { output_ids { lengths: [0, 1] token_ids: 2 } }"))
          .response;
  EXPECT_THAT(response.token_ids(), ElementsAre(1, 1));
}

// Compares parameters in a request with those that the sampler gets.
TEST(ParamsTest, EveryFieldArrives) {
  const v1::SampleRequest request = Changed(R"(
    params {
      greedy_threshold: 0.9 invalid_values: INVALID_VALUE_POLICY_SANITIZE_UNIFORM
      top_k_ties: TIE_POLICY_KEEP_ALL typical_p: 0.1 eta_cutoff: 0.2 top_n_sigma: 3
      mirostat { version: 1 tau: 4 eta: 0.5 }
      top_p_decay { decay: 0.6 min: 0.7 reset_ids: [1, 2] }
      temperature_schedule { kind: KIND_EXPONENTIAL begin: 2 end: 3 num_steps: 4 }
      dynamic_temperature { range: 5 exponent: 6 }
      penalty_last_n: 7
      dry { multiplier: 8 base: 9 allowed_length: 10 last_n: 11 breakers { token_ids: [1, 2] } }
    }
    params { adaptive_p { target: 0.8 decay: 0.7 } temperature: 0.5 stage_preset: STAGE_PRESET_HF }
    row_params: [0, 1]
    states { mirostat_mu: 1 top_p: 0.5 }
    states { adaptive_p_sum: 2 adaptive_p_weight: 3 }
    outputs { entropy: true gumbel_softmax: 0.25 })");
  DecodedSample decoded;
  ASSERT_TRUE(DecodeSample(request, kContext, decoded).ok());
  const SamplingParams& first = decoded.profiles.params[0];
  EXPECT_EQ(first.greedy_threshold, .9);
  EXPECT_EQ(first.invalid_values, InvalidValuePolicy::kSanitizeUniform);
  EXPECT_EQ(first.top_k_ties, TiePolicy::kKeepAll);
  EXPECT_EQ(first.typical_p, .1);
  EXPECT_EQ(first.eta_cutoff, .2);
  EXPECT_EQ(first.top_n_sigma, 3);
  EXPECT_EQ(first.mirostat->version, 1u);
  EXPECT_EQ(first.mirostat->tau, 4);
  EXPECT_EQ(first.mirostat->eta, .5);
  EXPECT_EQ(first.top_p_decay->decay, .6);
  EXPECT_EQ(first.top_p_decay->min, .7);
  EXPECT_THAT(first.top_p_decay->reset_ids, ElementsAre(1, 2));
  EXPECT_EQ(first.temperature_schedule->kind, TemperatureSchedule::Kind::kExponential);
  EXPECT_EQ(first.temperature_schedule->begin, 2);
  EXPECT_EQ(first.temperature_schedule->end, 3);
  EXPECT_EQ(first.temperature_schedule->num_steps, 4u);
  EXPECT_EQ(first.dynamic_temperature->range, 5);
  EXPECT_EQ(first.dynamic_temperature->exponent, 6);
  EXPECT_EQ(first.penalty_last_n, 7);
  EXPECT_EQ(first.dry.multiplier, 8);
  EXPECT_EQ(first.dry.base, 9);
  EXPECT_EQ(first.dry.allowed_length, 10u);
  EXPECT_EQ(first.dry.last_n, 11);
  EXPECT_THAT(first.dry.breakers, ElementsAre(ElementsAre(1, 2)));
  const SamplingParams& second = decoded.profiles.params[1];
  EXPECT_EQ(second.adaptive_p->target, .8);
  EXPECT_EQ(second.adaptive_p->decay, .7);
  EXPECT_EQ(second.stage_order, kHfOrder);
  EXPECT_EQ(second.top_k_ties, TiePolicy::kKeepAll);  // like transformers
  EXPECT_EQ(decoded.inputs[0].state->mirostat_mu, 1);
  EXPECT_EQ(decoded.inputs[0].state->top_p, .5);
  EXPECT_EQ(decoded.inputs[1].state->adaptive_p_sum, 2);
  EXPECT_EQ(decoded.inputs[1].state->adaptive_p_weight, 3);
  EXPECT_TRUE(decoded.outputs.entropy);
  EXPECT_EQ(decoded.outputs.gumbel_softmax, .25);
}

TEST(StatesTest, ComeBackForTheNextStep) {
  v1::SampleRequest request =
      Changed("params { mirostat { version: 2 } top_p_decay { decay: 0.5 } }");
  const v1::SampleResponse first = Sample(request).response;
  ASSERT_EQ(first.states_size(), 2);
  EXPECT_TRUE(first.states(0).has_mirostat_mu());
  EXPECT_EQ(first.states(1).top_p(), .5);
  *request.mutable_states() = first.states();
  EXPECT_EQ(Sample(request).response.states(1).top_p(), .25);
}

TEST(SanitizeTest, TheStatusSaysWhatWasDone) {
  v1::SampleRequest request =
      Changed("params { invalid_values: INVALID_VALUE_POLICY_SANITIZE } outputs { entropy: true }");
  SetTensor(2, {1, std::numeric_limits<float>::quiet_NaN(), 3, 4, 5, 6}, *request.mutable_tensor());
  const v1::SampleResponse response = Sample(request).response;
  EXPECT_THAT(response.token_counts(), ElementsAre(1, 1));
  ASSERT_EQ(response.row_statuses_size(), 1);
  EXPECT_EQ(response.row_statuses(0).code(), v1::ROW_CODE_SANITIZED);
  EXPECT_TRUE(response.details(0).has_entropy());
}

TEST(FeaturesTest, NameWhatIsImplementedAndNothingElse) {
  const std::vector<std::string> features = ImplementedFeatures();
  for (const char* there :
       {"Sample", "RegisterRegion", "temperature", "top_k", "logit_bias", "kept_set"}) {
    EXPECT_THAT(features, Contains(there));
  }
  for (const char* missing : {"Train", "data"}) {
    EXPECT_THAT(features, Not(Contains(missing)));
  }
}

// Expects that a client can read the answer: each row has tokens of the vocabulary or a status that
// says why not.
void ExpectAnswerOf(const v1::SampleRequest& request, const v1::SampleResponse& response) {
  ASSERT_EQ(response.token_counts_size(), static_cast<int>(request.tensor().rows()));
  std::set<uint32_t> told;
  for (const v1::RowStatus& status : response.row_statuses()) {
    EXPECT_FALSE(status.message().empty());
    told.insert(status.row());
  }
  uint32_t tokens = 0;
  for (uint32_t row = 0; row < request.tensor().rows(); ++row) {
    const uint32_t count = response.token_counts(static_cast<int>(row));
    EXPECT_TRUE(count > 0 || told.count(row) > 0) << "row " << row << " has nothing";
    tokens += count;
  }
  ASSERT_EQ(response.token_ids_size(), static_cast<int>(tokens));
  EXPECT_THAT(response.token_ids(), Each(Lt(request.tensor().vocab())));
}

TEST(MutationTest, WhateverIsChangedTheAnswerIsARefusalOrWhole) {
  const std::string good =
      Changed(
          "params { top_k: 2 temperature: 0.7 logit_bias { token_ids: 1 values: 2 } "
          "typical_p: 0.9 eta_cutoff: 0.1 top_n_sigma: 2 mirostat { version: 2 } "
          "dry { multiplier: 1 breakers { token_ids: 2 } } dynamic_temperature { range: 0.5 } } "
          "row_params: [0, 0] keys { seeds: [1, 2] steps: [5, 6] } "
          "histories { output_ids { lengths: [1, 1] token_ids: [2, 0] } } "
          "bitmask { words: 'abcdabcd' } outputs { logprobs: true kept_set: true }")
          .SerializeAsString();
  std::mt19937 random(20261123);
  int sampled = 0;
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint32_t change = 0; change <= random() % 3; ++change) {
      const size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 4);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random()));
      }
      if (bytes.empty()) bytes = good;
    }
    v1::SampleRequest request;
    if (!request.ParseFromString(bytes)) continue;
    // Drawing millions of tokens is allowed, but slow.
    for (v1::SamplingParams& params : *request.mutable_params()) {
      if (params.num_samples() > 100) params.set_num_samples(100);
    }
    SCOPED_TRACE(request.ShortDebugString());
    const Outcome outcome = Sample(request);
    if (outcome.status.ok()) {
      ++sampled;
      ExpectAnswerOf(request, outcome.response);
    } else {
      ++refused;
      EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument) << outcome.status;
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(sampled, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace token_sampler
