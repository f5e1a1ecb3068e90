// Tests how every sampling flag changes the request, and that every field of the protocol has a
// flag.

#include "client/cli/flags/sampling_flags.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/cli/flags/row_flags.h"
#include "client/wire/params_wire.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using ::testing::HasSubstr;

struct Case {
  std::vector<std::string> arguments;
  std::string request;  // as text of v1::SampleRequest, without fields that are always set
};

// Returns a number, as text, that every parameter of this type accepts.
const char* AnyValue(const std::optional<double>&) { return "0.75"; }
const char* AnyValue(const std::optional<uint32_t>&) { return "3"; }
const char* AnyValue(const std::optional<int32_t>&) { return "64"; }
const char* AnyValue(const std::optional<bool>&) { return ""; }

// Makes a case for each parameter that is a number or a switch, and one for all stages.
std::vector<Case> DerivedCases() {
  std::vector<Case> cases;
  SamplingParams params;
  ForEachScalar(params, [&](const auto& member, const ScalarDescription& description) {
    const std::string value = AnyValue(member);
    Case& c = cases.emplace_back();
    c.arguments = {absl::StrCat("--", absl::StrReplaceAll(description.name, {{"_", "-"}}))};
    if (!value.empty()) c.arguments.push_back(value);
    c.request =
        absl::StrCat("params { ", description.name, ": ", value.empty() ? "true" : value, " }");
  });
  const google::protobuf::EnumDescriptor& stages = *v1::Stage_descriptor();
  std::vector<std::string> names;
  std::vector<int> numbers;
  for (int i = 0; i < stages.value_count(); ++i) {
    if (stages.value(i)->number() == v1::STAGE_UNSPECIFIED) continue;
    names.push_back(absl::AsciiStrToLower(absl::StripPrefix(stages.value(i)->name(), "STAGE_")));
    numbers.push_back(stages.value(i)->number());
  }
  cases.push_back({{"--stage-order", absl::StrJoin(names, ",")},
                   absl::StrCat("params { stage_order: [", absl::StrJoin(numbers, ", "), "] }")});
  return cases;
}

// Makes a case for every other flag.
std::vector<Case> OtherCases() {
  return {
      {{"--temperature-linear", "1:0.5:10"},
       "params { temperature_schedule { kind: KIND_LINEAR begin: 1 end: 0.5 num_steps: 10 } }"},
      {{"--temperature-exponential", "2:0.5:7"},
       "params { temperature_schedule { kind: KIND_EXPONENTIAL begin: 2 end: 0.5 num_steps: 7 } }"},
      {{"--dynamic-temperature", "0.25"},
       "params { dynamic_temperature { range: 0.25 exponent: 1 } }"},
      {{"--dynamic-temperature", "0.25:2"},
       "params { dynamic_temperature { range: 0.25 exponent: 2 } }"},
      {{"--invalid-values", "fail"}, "params { invalid_values: INVALID_VALUE_POLICY_FAIL }"},
      {{"--invalid-values", "sanitize"},
       "params { invalid_values: INVALID_VALUE_POLICY_SANITIZE }"},
      {{"--invalid-values", "uniform"},
       "params { invalid_values: INVALID_VALUE_POLICY_SANITIZE_UNIFORM }"},
      {{"--top-k-ties", "exact"}, "params { top_k_ties: TIE_POLICY_EXACTLY_K }"},
      {{"--top-k-ties", "all"}, "params { top_k_ties: TIE_POLICY_KEEP_ALL }"},
      {{"--top-p-decay", "0.5"}, "params { top_p_decay { decay: 0.5 min: 1e-6 } }"},
      {{"--top-p-decay", "0.5:0.1", "--top-p-reset-ids", "7,8"},
       "params { top_p_decay { decay: 0.5 min: 0.1 reset_ids: [7, 8] } }"},
      {{"--top-p-reset-ids", "7", "--top-p-decay", "0.5"},
       "params { top_p_decay { decay: 0.5 min: 1e-6 reset_ids: 7 } }"},
      {{"--xtc", "0.5"}, "params { xtc { probability: 0.5 threshold: 0.1 } }"},
      {{"--xtc", "0.5:0.2"}, "params { xtc { probability: 0.5 threshold: 0.2 } }"},
      {{"--mirostat", "1"}, "params { mirostat { version: 1 tau: 5 eta: 0.1 } }"},
      {{"--mirostat", "2:3:0.2"}, "params { mirostat { version: 2 tau: 3 eta: 0.2 } }"},
      {{"--adaptive-p", "0.4"}, "params { adaptive_p { target: 0.4 decay: 0.9 } }"},
      {{"--adaptive-p", "0.4:0.5"}, "params { adaptive_p { target: 0.4 decay: 0.5 } }"},
      {{"--stage-preset", "vllm"}, "params { stage_preset: STAGE_PRESET_VLLM }"},
      {{"--stage-preset", "hf"}, "params { stage_preset: STAGE_PRESET_HF }"},
      {{"--stage-preset", "llama_cpp"}, "params { stage_preset: STAGE_PRESET_LLAMA_CPP }"},
      {{"--stage-preset", "sglang"}, "params { stage_preset: STAGE_PRESET_SGLANG }"},
      {{"--allowed-ids", "1,2"}, "params { allowed_ids: [1, 2] }"},
      {{"--banned-ids", "3"}, "params { banned_ids: 3 }"},
      {{"--bad-words", "1,2;3"},
       "params { bad_words { token_ids: [1, 2] } bad_words { token_ids: 3 } }"},
      {{"--stop-ids", "5,6"}, "params { stop_ids: [5, 6] }"},
      {{"--logit-bias", "1:0.5,2:-inf"},
       "params { logit_bias { token_ids: [1, 2] values: [0.5, -inf] } }"},
      {{"--dry", "0.8"},
       "params { dry { multiplier: 0.8 base: 1.75 allowed_length: 2 last_n: -1 } }"},
      {{"--dry", "0.8:2:3:100", "--dry-breakers", "1;2,3"},
       "params { dry { multiplier: 0.8 base: 2 allowed_length: 3 last_n: 100 "
       "breakers { token_ids: 1 } breakers { token_ids: [2, 3] } } }"},

      {{"--prompt-ids", "1,2"}, "histories { prompt_ids { lengths: 2 token_ids: [1, 2] } }"},
      {{"--output-ids", "3"}, "histories { output_ids { lengths: 1 token_ids: 3 } }"},
      {{"--prompt-set", "4,5"}, "histories { prompt_set { lengths: 2 token_ids: [4, 5] } }"},
      {{"--output-counts", "6:1,7:20"},
       "histories { output_counts { lengths: 2 token_ids: [6, 7] counts: [1, 20] } }"},
      {{"--no-history"}, "histories { }"},
      {{"--prompt-ids", "8", "--skip-unknown-ids"},
       "histories { prompt_ids { lengths: 1 token_ids: 8 } skip_unknown_ids: true }"},
      {{"--state", "mirostat_mu=9.5"}, "states { mirostat_mu: 9.5 }"},
      {{"--state", "adaptive_p_sum=2,adaptive_p_weight=4,top_p=0.1"},
       "states { adaptive_p_sum: 2 adaptive_p_weight: 4 top_p: 0.1 }"},

      {{"--logprobs", "0"}, "outputs { logprobs: true }"},
      {{"--logprobs", "5"}, "outputs { logprobs: true top_logprobs: 5 }"},
      {{"--logprob-mode", "raw"}, ""},
      {{"--logprob-mode", "processed"}, "outputs { logprob_mode: LOGPROB_MODE_PROCESSED }"},
      {{"--ranks", "--rank-mode", "greater"}, "outputs { ranks: true }"},
      {{"--rank-mode", "greater-equal"}, "outputs { rank_mode: RANK_MODE_GREATER_EQUAL }"},
      {{"--kept-count"}, "outputs { kept_count: true }"},
      {{"--kept-set"}, "outputs { kept_set: true }"},
      {{"--entropy"}, "outputs { entropy: true }"},
      {{"--extremes"}, "outputs { extremes: true }"},
      {{"--gumbel-softmax", "0.5"}, "outputs { gumbel_softmax: 0.5 }"},
  };
}

const std::vector<Case>& Cases() {
  static const std::vector<Case>& cases = *[] {
    auto* const made = new std::vector<Case>(DerivedCases());
    for (Case& other : OtherCases()) made->push_back(std::move(other));
    return made;
  }();
  return cases;
}

struct Flags {
  CLI::App app;
  SamplingFlags sampling;
  RowState state;

  Flags() {
    AddSamplingFlags(app, sampling);
    AddStateFlag(app, state);
  }
};

// Returns the request that the flags make of one row.
v1::SampleRequest RequestOf(const std::vector<std::string>& arguments) {
  Flags flags;
  // CLI11 reads arguments from the back.
  flags.app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  v1::SampleRequest request;
  v1::SamplingParams params;
  ToProto(flags.sampling.params, &params);
  if (params.ByteSizeLong() > 0) *request.add_params() = params;
  if (const std::optional<History> history = flags.sampling.history.Get()) {
    ToProto({*history}, flags.sampling.history.skip_unknown_ids, request.mutable_histories());
  }
  v1::RowState state;
  ToProto(flags.state, &state);
  if (state.ByteSizeLong() > 0) *request.add_states() = state;
  v1::OutputOptions outputs;
  ToProto(flags.sampling.outputs(), &outputs);
  if (outputs.ByteSizeLong() > 0) *request.mutable_outputs() = outputs;
  return request;
}

v1::SampleRequest Parse(const std::string& text) {
  v1::SampleRequest request;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

TEST(SamplingFlagsTest, EachSetsItsField) {
  for (const Case& c : Cases()) {
    const v1::SampleRequest actual = RequestOf(c.arguments);
    const v1::SampleRequest expected = Parse(c.request);
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(actual, expected))
        << c.arguments[0] << " gives\n"
        << actual.DebugString() << "instead of\n"
        << expected.DebugString();
  }
}

// Adds the full names of all fields that are set in the message and in its nested messages.
void CollectSet(const Message& message, std::set<std::string>& names) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    names.insert(field->full_name());
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      CollectSet(message.GetReflection()->GetMessage(message, field), names);
      continue;
    }
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      CollectSet(message.GetReflection()->GetRepeatedMessage(message, field, i), names);
    }
  }
}

void CollectAll(const google::protobuf::Descriptor& type, std::set<std::string>& names) {
  for (int i = 0; i < type.field_count(); ++i) {
    names.insert(type.field(i)->full_name());
    if (type.field(i)->message_type() != nullptr) CollectAll(*type.field(i)->message_type(), names);
  }
}

TEST(SamplingFlagsTest, EveryFieldHasAFlag) {
  std::set<std::string> set;
  for (const Case& c : Cases()) CollectSet(Parse(c.request), set);
  std::set<std::string> all;
  for (const google::protobuf::Descriptor* type :
       {v1::SamplingParams::descriptor(), v1::Histories::descriptor(), v1::RowState::descriptor(),
        v1::OutputOptions::descriptor()}) {
    CollectAll(*type, all);
  }
  for (const std::string& name : all) EXPECT_TRUE(set.contains(name)) << name;
}

TEST(SamplingFlagsTest, EveryFlagIsTried) {
  std::set<std::string> tried = {"--help"};
  for (const Case& c : Cases()) tried.insert(c.arguments.begin(), c.arguments.end());
  Flags flags;
  for (const CLI::Option* option : flags.app.get_options()) {
    EXPECT_TRUE(tried.contains("--" + option->get_lnames().at(0))) << option->get_name();
  }
}

TEST(SamplingFlagsTest, WhatIsMalformedIsRefusedByName) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--mirostat", "1.5"}, "--mirostat: "},
      {{"--xtc", "1:2:3"}, "--xtc: must be PROBABILITY[:THRESHOLD], got 1:2:3"},
      {{"--output-counts", "3"}, "--output-counts: must be ID:COUNT,ID:COUNT,..., got 3"},
      {{"--top-p-reset-ids", "x"}, "--top-p-reset-ids: must be ID,ID,..., got x"},
      {{"--state", "mu=3"}, "--state: must be NAME=VALUE,... with names of mirostat_mu"},
      {{"--skip-unknown-ids"},
       "--skip-unknown-ids: needs --prompt-ids, --output-ids, --prompt-set"},
      {{"--no-history", "--output-ids", "1"}, "--no-history excludes --output-ids"},
      {{"--rank-mode", "equal"}, "must be one of greater|greater-equal, got equal"},
  };
  for (const auto& [arguments, message] : cases) {
    try {
      RequestOf(arguments);
      ADD_FAILURE() << arguments[0] << " was taken";
    } catch (const CLI::ParseError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }
}

TEST(StateTextTest, IsTakenBackToTheLastBit) {
  RowState state = {.mirostat_mu = 1.0 / 3, .top_p = 1e-300};
  const v1::SampleRequest request = RequestOf({"--state", StateText(state)});
  EXPECT_EQ(request.states(0).mirostat_mu(), 1.0 / 3);
  EXPECT_EQ(request.states(0).top_p(), 1e-300);
  EXPECT_FALSE(request.states(0).has_adaptive_p_sum());
  EXPECT_EQ(StateText({}), "");
}

}  // namespace
}  // namespace token_sampler::client
