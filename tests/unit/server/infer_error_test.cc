// Tests that errors of inference requests use the names that the caller wrote, and suggest the
// nearest name for an unknown one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/calls/call_identity.h"
#include "server/kserve/infer_job.h"
#include "server/regions/region_registry.h"
#include "tests/unit/server/infer_messages.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const CallContext kContext = {.limits = {.max_rows = 8, .max_vocab = 1000}};

// Returns the error of the call; if it succeeds, the error of its first row that fails.
std::string ErrorOf(inference::ModelInferRequest request, const CallContext& context = kContext) {
  inference::ModelInferResponse response;
  InferenceStatistics statistics;
  absl::Status answered;
  InferJob job(response, statistics, [&](const absl::Status& status) { answered = status; });
  const absl::Status decoded = job.Decode(request, context);
  if (!decoded.ok()) return std::string(decoded.message());
  job.results.resize(job.rows.size());
  job.Done(absl::OkStatus());
  if (!answered.ok()) return std::string(answered.message());
  for (int i = 0; i < response.outputs_size(); ++i) {
    if (response.outputs(i).name() != "message") continue;
    // Each row's text is preceded by its length.
    absl::string_view rest = response.raw_output_contents(i);
    while (!rest.empty()) {
      uint32_t size = 0;
      std::memcpy(&size, rest.data(), sizeof(size));
      if (size > 0) return std::string(rest.substr(sizeof(size), size));
      rest.remove_prefix(sizeof(size));
    }
  }
  return "";
}

struct Case {
  std::function<void(inference::ModelInferRequest&)> change;
  std::string error;
};

void Check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    inference::ModelInferRequest request = Request();
    c.change(request);
    EXPECT_EQ(ErrorOf(request), c.error);
  }
}

// The same for errors of the native request, which the tests of that have in full: here `error` is
// how they begin, with the names that the caller knows.
void CheckBeginnings(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    inference::ModelInferRequest request = Request();
    c.change(request);
    const std::string error = ErrorOf(request);
    EXPECT_THAT(error, StartsWith(c.error + " "));
    EXPECT_THAT(error, Not(HasSubstr("params[")));
  }
}

TEST(InferErrorTest, NamesParametersAsTheyWereSent) {
  CheckBeginnings({
      {[](auto& r) { Parameter(r, "top_p").set_double_param(1.5); }, "row 0: parameters.top_p"},
      {[](auto& r) { Parameter(r, "xtc.probability").set_double_param(2); },
       "row 0: parameters.xtc.probability"},
      {[](auto& r) { Parameter(r, "mirostat.tau").set_double_param(2); },
       "parameters.mirostat.version"},
      {[](auto& r) { Parameter(r, "temperature_schedule.begin").set_double_param(2); },
       "parameters.temperature_schedule.kind"},
      {[](auto& r) {
         Parameter(r, "temperature").set_double_param(1);
         Parameter(r, "temperature_schedule.begin").set_double_param(2);
       },
       "the request must not set both temperature and"},
      {[](auto& r) { Parameter(r, "num_samples").set_int64_param(4); },
       "row 0: parameters.num_samples"},
      {[](auto& r) {
         Parameter(r, "num_samples").set_int64_param(10'000'000);
         Parameter(r, "replacement").set_bool_param(true);
       },
       "num_samples of all rows"},
      {[](auto& r) {
         Parameter(r, "top_logprobs").set_int64_param(4);
         r.add_outputs()->set_name("top_token_ids");
       },
       "parameters.top_logprobs"},
      {[](auto& r) {
         Parameter(r, "gumbel_softmax").set_double_param(0);
         r.add_outputs()->set_name("gumbel_softmax");
       },
       "parameters.gumbel_softmax"},
  });
  Check({
      {[](auto& r) { Parameter(r, "seed").set_int64_param(-1); },
       "parameters.seed must be an integer in [0, 18446744073709551615], got -1"},
      {[](auto& r) { Parameter(r, "stream").set_int64_param(int64_t{1} << 32); },
       "parameters.stream must be an integer in [0, 4294967295], got 4294967296"},
      {[](auto& r) { Parameter(r, "top_p").set_string_param("much"); },
       "parameters.top_p must be a number, got \"much\""},
      {[](auto& r) { Parameter(r, "replacement").set_int64_param(1); },
       "parameters.replacement must be a boolean, got 1"},
      {[](auto& r) { Parameter(r, "stage_preset").set_string_param("GGML"); },
       "parameters.stage_preset must be one of VLLM, HF, LLAMA_CPP, SGLANG, got \"GGML\""},
  });
}

TEST(InferErrorTest, NamesInputsAsTheyWereSent) {
  CheckBeginnings({
      {[](auto& r) {
         AddInput(r, "top_p", "FP32", {2}, Bytes<float>({0.5f, 2.0f}));
       },
       "row 1: inputs.top_p"},
      {[](auto& r) {
         AddInput(r, "min_p", "FP32", {2}, Bytes<float>({0.5f, 0.5f}));
         Parameter(r, "top_p").set_double_param(2);
       },
       "row 0: parameters.top_p"},
      {[](auto& r) {
         AddInput(r, "bitmask", "INT32", {2, 2}, std::string(16, '\xff'));
       },
       "inputs.bitmask"},
      {[](auto& r) {
         AddInput(r, "stop_ids", "INT32", {2, 1}, Bytes<int32_t>({1, 7}));
       },
       "row 1: inputs.stop_ids[0]"},
      {[](auto& r) {
         AddInput(r, "bad_words", "INT32", {2, 3}, Bytes<int32_t>({1, -1, 2, 0, -1, 9}));
       },
       "row 1: inputs.bad_words[1][0]"},
      {[](auto& r) {
         AddInput(r, "logit_bias.token_ids", "INT32", {2, 1}, Bytes<int32_t>({1, 1}));
       },
       "inputs.logit_bias"},
      {[](auto& r) {
         AddInput(r, "stage_order", "BYTES", {2, 2}, Strings({"TOP_P", "TOP_P", "TOP_P", "TOP_K"}));
       },
       "inputs.stage_order[1]"},
  });
  Check({
      {[](auto& r) {
         AddInput(r, "seed", "INT64", {2}, Bytes<int64_t>({1, -7}));
       },
       "inputs.seed must be an integer in [0, 18446744073709551615], got -7"},
  });
}

// A region that is already gone when it is read, so that errors come from the native codec and
// after sampling.
class GoneRegion final : public Region {
 public:
  GoneRegion() : Region(24) {}
  absl::Status Copy(uint64_t, size_t, char*) const override { return absl::OkStatus(); }
  absl::Status CheckObject() const override { return absl::FailedPreconditionError("it is gone"); }
};

TEST(InferErrorTest, NamesTheTensorThatLiesInARegion) {
  RegionRegistry regions({.kinds = "cuda", .open_cuda = [](const CudaRegionRequest&) {
                            return std::make_shared<GoneRegion>();
                          }});
  CudaRegionRequest opened;
  opened.handle = std::string(64, 'h');
  opened.byte_size = 24;
  CallContext context = kContext;
  context.regions = &regions;
  context.caller = IdentityOfPeer("unix:1000/1");
  ASSERT_TRUE(regions.Register("here", opened, context.caller).ok());
  for (const std::string name : {"logits", "weights"}) {
    inference::ModelInferRequest request = Request();
    request.clear_raw_input_contents();
    request.mutable_inputs(0)->set_name(name);
    auto& parameters = *request.mutable_inputs(0)->mutable_parameters();
    parameters["shared_memory_region"].set_string_param("here");
    parameters["shared_memory_byte_size"].set_double_param(24);
    EXPECT_EQ(ErrorOf(request, context), absl::StrCat("inputs.", name, ": it is gone"));
    request.mutable_inputs(0)->set_shape(0, 1);
    parameters["shared_memory_byte_size"].set_int64_param(12);
    parameters["shared_memory_offset"].set_int64_param(2);
    EXPECT_THAT(ErrorOf(request, context),
                StartsWith(absl::StrCat("inputs.", name, ".parameters.shared_memory_offset ")));
  }
}

TEST(InferErrorTest, KeptSetsAreNamedByTheOutputThatWasAskedFor) {
  inference::ModelInferRequest request = Request();
  request.clear_raw_input_contents();
  request.clear_inputs();
  AddInput(request, "logits", "FP16", {9000, 2000}, std::string(36'000'000, '\0'));
  request.add_outputs()->set_name("kept_logprobs");
  const CallContext context = {.limits = {.max_rows = 10'000, .max_vocab = 10'000}};
  EXPECT_THAT(
      ErrorOf(request, context),
      HasSubstr("outputs.kept_logprobs must hold at most 16777216 tokens, could hold 18000000"));
}

TEST(InferErrorTest, AnOutputThatCouldBeTooLargeIsNamedWithItsShape) {
  Check({
      {[](auto& r) {
         AddInput(r, "num_samples", "INT32", {2}, Bytes<int32_t>({1, 10'000'000}));
         Parameter(r, "replacement").set_bool_param(true);
       },
       "outputs.token_ids must hold at most 16777216 elements, could hold 20000000: 2 rows with up "
       "to 10000000 columns"},
  });
}

TEST(InferErrorTest, WholeNumbersMayComeAsFloatingPoint) {
  inference::ModelInferRequest request = Request();
  Parameter(request, "top_k").set_double_param(2.0);
  Parameter(request, "seed").set_double_param(9007199254740992.0);
  Parameter(request, "timeout").set_double_param(1e6);
  Parameter(request, "priority").set_double_param(0.0);
  AddInput(request, "num_samples", "FP64", {2}, Bytes<double>({1, 2}));
  AddInput(request, "stop_ids", "FP32", {2, 2}, Bytes<float>({1, -1, -1, 2}));
  AddInput(request, "prompt_ids", "FP32", {2, 1}, Bytes<float>({1, -1}));
  InferCall call;
  const absl::Status status = TranslateRequest(kContext, request, call);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(call.request.params(0).ShortDebugString(), "num_samples: 1 top_k: 2 stop_ids: 1");
  EXPECT_EQ(call.request.params(1).ShortDebugString(), "num_samples: 2 top_k: 2 stop_ids: 2");
  EXPECT_THAT(call.request.keys().seeds(), ElementsAre(uint64_t{1} << 53));
  EXPECT_THAT(call.request.histories().prompt_ids().token_ids(), ElementsAre(1));
  const auto top_k = [](double value) {
    return [value](auto& r) { Parameter(r, "top_k").set_double_param(value); };
  };
  const std::string refusal =
      "parameters.top_k must be an integer in [0, 4294967295], where 0 is off, got ";
  Check({
      {top_k(5.5), refusal + "5.5"},
      {top_k(-1.0), refusal + "-1"},
      {top_k(std::numeric_limits<double>::quiet_NaN()), refusal + "nan"},
      {top_k(1e30), refusal + "1e+30"},
      {[](auto& r) { Parameter(r, "top_k").set_int64_param(-1); }, refusal + "-1"},
      {[](auto& r) { Parameter(r, "num_samples").set_double_param(1.5); },
       "parameters.num_samples must be an integer in [0, 4294967295], got 1.5"},
      {[](auto& r) { Parameter(r, "timeout").set_double_param(1.5); },
       "parameters.timeout must be microseconds, 0 or more, got 1.5"},
      {[](auto& r) {
         AddInput(r, "prompt_ids", "FP32", {2, 1}, Bytes<float>({1, 0.5f}));
       },
       "inputs.prompt_ids must hold integers below 2^63, got 0.5"},
  });
}

// -1 is padding among ids, but a value among floating-point numbers.
TEST(InferErrorTest, ABiasOfMinusOneIsNoPadding) {
  inference::ModelInferRequest request =
      WithInput("logit_bias.token_ids", "INT32", {2, 1}, Bytes<int32_t>({1, 1}));
  AddInput(request, "logit_bias.values", "INT32", {2, 1}, Bytes<int32_t>({-1, 3}));
  EXPECT_EQ(ErrorOf(request), "");
}

TEST(InferErrorTest, AMisspeltNameIsToldTheNearest) {
  Check({
      {[](auto& r) { Parameter(r, "temprature").set_double_param(1); },
       "parameters.temprature is not supported by this server; did you mean temperature?"},
      {[](auto& r) { Parameter(r, "seeds").set_int64_param(1); },
       "parameters.seeds is not supported by this server; did you mean seed?"},
      {[](auto& r) { Parameter(r, "beam_width").set_int64_param(1); },
       "parameters.beam_width is not supported by this server"},
      {[](auto& r) {
         AddInput(r, "promt_ids", "INT32", {2, 1}, Bytes<int32_t>({1, 1}));
       },
       "inputs: the model has no input promt_ids; did you mean prompt_ids?"},
      {[](auto& r) {
         AddInput(r, "timeout", "INT32", {2, 1}, Bytes<int32_t>({1, 1}));
       },
       "inputs: the model has no input timeout: it is a parameter"},
      {[](auto& r) { r.add_outputs()->set_name("logprob"); },
       "outputs: the model has no output logprob; did you mean logprobs?"},
  });
}

TEST(InferErrorTest, WhatIsNoParameterIsToldItsPlace) {
  Check({
      {[](auto& r) { Parameter(r, "stop_ids").set_int64_param(1); },
       "parameters.stop_ids must be an input of shape [rows, n]: it is a list"},
      {[](auto& r) { Parameter(r, "bad_words").set_string_param("[[1]]"); },
       "parameters.bad_words must be an input of shape [rows, n]: it is a list"},
      {[](auto& r) { Parameter(r, "prompt_ids").set_int64_param(1); },
       "parameters.prompt_ids must be an input of shape [rows, n]: it is a list"},
      {[](auto& r) { Parameter(r, "state.top_p").set_double_param(1); },
       "parameters.state.top_p must be an input of shape [rows, 1]"},
      {[](auto& r) { Parameter(r, "logits").set_double_param(1); },
       "parameters.logits must be an input of shape [rows, vocab]"},
      {[](auto& r) { Parameter(r, "logprobs").set_bool_param(true); },
       "parameters.logprobs is not a parameter: name logprobs among the outputs"},
  });
}

TEST(InferErrorTest, OutputsOfNoTokensAreRefused) {
  for (const char* name : {"top_token_ids", "top_logprobs"}) {
    inference::ModelInferRequest request = Request();
    Parameter(request, "top_logprobs").set_int64_param(0);
    request.add_outputs()->set_name(name);
    EXPECT_EQ(ErrorOf(request),
              absl::StrCat("outputs.", name, " needs parameters.top_logprobs above 0, got 0"));
  }
}

// server/README.md shows a row of bad_words, and which sequences it means.
TEST(InferErrorTest, NestedListsAreEncodedAsDocumented) {
  std::stringstream text;
  text << std::ifstream(TOKEN_SAMPLER_TEST_DATA "/../../server/README.md").rdbuf();
  const std::string page = text.str();
  std::smatch found;
  ASSERT_TRUE(std::regex_search(
      page, found,
      std::regex("`bad_words`\\s+row\\s+`\\[([-0-9, ]+)\\]`\\s+bans\\s+the\\s+sequence\\s+([0-9 ]+)"
                 "\\s+and\\s+the\\s+token\\s+([0-9]+)")));
  std::vector<int32_t> row;
  for (const absl::string_view id : absl::StrSplit(found.str(1), ", ")) {
    ASSERT_TRUE(absl::SimpleAtoi(id, &row.emplace_back()));
  }
  inference::ModelInferRequest request = Request();
  std::vector<int32_t> rows = row;
  rows.insert(rows.end(), row.begin(), row.end());
  AddInput(request, "bad_words", "INT32", {2, static_cast<int64_t>(row.size())},
           Bytes<int32_t>(rows));
  InferCall call;
  ASSERT_TRUE(TranslateRequest(kContext, request, call).ok());
  std::vector<std::string> banned;
  for (const v1::TokenSequence& sequence : call.request.params(1).bad_words()) {
    banned.push_back(absl::StrJoin(sequence.token_ids(), " "));
  }
  EXPECT_THAT(banned, ElementsAre(found.str(2), found.str(3)));
}

}  // namespace
}  // namespace token_sampler
