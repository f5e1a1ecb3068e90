// Tests the translation of inference requests of the Open Inference Protocol into native ones: what
// is accepted, what is refused, and with which messages.

#include "server/kserve/translation/infer_request.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/calls/call_identity.h"
#include "server/codec/request_codec.h"
#include "server/kserve/infer_job.h"
#include "server/regions/region_registry.h"
#include "tests/unit/server/infer_messages.h"

namespace token_sampler {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const CallContext kContext = {.limits = {.max_rows = 8, .max_vocab = 1000}};

InferCall Translate(inference::ModelInferRequest request) {
  InferCall call;
  const absl::Status status = TranslateRequest(kContext, request, call);
  EXPECT_TRUE(status.ok()) << status;
  DecodedSample decoded;
  const absl::Status decodes = DecodeSample(call.request, kContext, decoded);
  EXPECT_TRUE(decodes.ok()) << decodes;
  return call;
}

std::string Refusal(inference::ModelInferRequest request,
                    absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  InferCall call;
  const absl::Status status = TranslateRequest(kContext, request, call);
  EXPECT_EQ(status.code(), code) << status;
  return std::string(status.message());
}

TEST(InferRequestTest, TakesRawLogitsInEachType) {
  const std::pair<const char*, v1::DataType> types[] = {{"FP32", v1::DATA_TYPE_FLOAT32},
                                                        {"FP16", v1::DATA_TYPE_FLOAT16},
                                                        {"BF16", v1::DATA_TYPE_BFLOAT16},
                                                        {"FP64", v1::DATA_TYPE_FLOAT64}};
  for (const auto& [name, type] : types) {
    size_t size = name == std::string("FP32") ? 4 : name == std::string("FP64") ? 8 : 2;
    const std::string raw(2 * 3 * size, '\0');
    inference::ModelInferRequest request;
    request.set_model_name("sampler");
    AddInput(request, "logits", name, {2, 3}, raw);
    const v1::SampleRequest native = Translate(request).request;
    EXPECT_EQ(native.tensor().dtype(), type);
    EXPECT_EQ(native.tensor().rows(), 2u);
    EXPECT_EQ(native.tensor().vocab(), 3u);
    EXPECT_EQ(native.tensor().data(), raw);
    EXPECT_FALSE(native.has_input_kind());
  }
}

TEST(InferRequestTest, TakesTypedContentsAsItTakesRawOnes) {
  inference::ModelInferRequest typed;
  typed.set_model_name("sampler");
  auto& logits = *typed.add_inputs();
  logits.set_name("logits");
  logits.set_datatype("FP32");
  logits.add_shape(2);
  logits.add_shape(3);
  for (const float value : {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}) {
    logits.mutable_contents()->add_fp32_contents(value);
  }
  auto& seed = *typed.add_inputs();
  seed.set_name("seed");
  seed.set_datatype("UINT64");
  seed.add_shape(2);
  seed.mutable_contents()->add_uint64_contents(7);
  seed.mutable_contents()->add_uint64_contents(8);
  const inference::ModelInferRequest raw =
      WithInput("seed", "UINT64", {2}, Bytes<uint64_t>({7, 8}));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(Translate(typed).request,
                                                                 Translate(raw).request));
}

TEST(InferRequestTest, WeightsAreAKindOfTheirOwn) {
  inference::ModelInferRequest request = Request();
  request.mutable_inputs(0)->set_name("weights");
  EXPECT_EQ(Translate(request).request.input_kind(), v1::INPUT_KIND_WEIGHTS);
}

TEST(InferRequestTest, ParametersHoldForEveryRow) {
  inference::ModelInferRequest request = Request();
  Parameter(request, "temperature").set_int64_param(0);  // like a client that sends 0
  Parameter(request, "top_p").set_double_param(0.5);
  Parameter(request, "replacement").set_bool_param(true);
  Parameter(request, "stage_preset").set_string_param("HF");
  Parameter(request, "xtc.probability").set_double_param(0.5);
  Parameter(request, "xtc.threshold").set_double_param(0.25);
  Parameter(request, "seed").set_uint64_param(std::numeric_limits<uint64_t>::max());
  Parameter(request, "top_logprobs").set_int64_param(2);
  Parameter(request, "logprob_mode").set_string_param("PROCESSED");
  Parameter(request, "triton_enable_empty_final_response").set_bool_param(true);
  request.add_outputs()->set_name("top_logprobs");
  const v1::SampleRequest native = Translate(request).request;
  ASSERT_EQ(native.params_size(), 1);
  EXPECT_EQ(native.params(0).ShortDebugString(),
            "temperature: 0 replacement: true top_p: 0.5 xtc { probability: 0.5 threshold: 0.25 } "
            "stage_preset: STAGE_PRESET_HF");
  EXPECT_THAT(native.keys().seeds(), ElementsAre(std::numeric_limits<uint64_t>::max()));
  EXPECT_EQ(native.outputs().top_logprobs(), 2u);
  EXPECT_EQ(native.outputs().logprob_mode(), v1::LOGPROB_MODE_PROCESSED);
}

TEST(InferRequestTest, InputsHoldForTheirRow) {
  inference::ModelInferRequest request =
      WithInput("top_k", "INT32", {2, 1}, Bytes<int32_t>({2, 1}));
  AddInput(request, "top_p", "FP32", {2}, Bytes<float>({0.5f, 1.0f}));
  AddInput(request, "stop_ids", "INT64", {2, 2}, Bytes<int64_t>({1, -1, 0, 2}));
  AddInput(request, "bad_words", "INT32", {2, 5}, Bytes<int32_t>({0, 1, -1, 2, -1, 2, 2, 2, 2, 2}));
  AddInput(request, "dry.breakers", "INT32", {2, 1}, Bytes<int32_t>({-1, 1}));
  AddInput(request, "logit_bias.token_ids", "INT32", {2, 1}, Bytes<int32_t>({-1, 0}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  AddInput(request, "logit_bias.values", "FP32", {2, 1}, Bytes<float>({nan, 1.5f}));
  AddInput(request, "stage_order", "BYTES", {2, 2}, Strings({"TOP_P", "TOP_K", "TOP_P", "TOP_K"}));
  AddInput(request, "state.top_p", "FP64", {2, 1}, Bytes<double>({0.25, nan}));
  AddInput(request, "stream", "UINT32", {2}, Bytes<uint32_t>({3, 4}));
  Parameter(request, "temperature").set_double_param(1.0);
  Parameter(request, "dry.multiplier").set_double_param(0.0);
  const v1::SampleRequest native = Translate(request).request;
  ASSERT_EQ(native.params_size(), 2);
  EXPECT_EQ(native.params(0).ShortDebugString(),
            "temperature: 1 top_k: 2 top_p: 0.5 stage_order: STAGE_TOP_P stage_order: STAGE_TOP_K "
            "bad_words { token_ids: 0 token_ids: 1 } bad_words { token_ids: 2 } stop_ids: 1 "
            "dry { multiplier: 0 }");
  EXPECT_EQ(native.params(1).ShortDebugString(),
            "temperature: 1 top_k: 1 top_p: 1 stage_order: STAGE_TOP_P stage_order: STAGE_TOP_K "
            "bad_words { token_ids: 2 token_ids: 2 token_ids: 2 token_ids: 2 token_ids: 2 } "
            "stop_ids: 0 stop_ids: 2 logit_bias { token_ids: 0 values: 1.5 } "
            "dry { multiplier: 0 breakers { token_ids: 1 } }");
  EXPECT_THAT(native.row_params(), ElementsAre(0, 1));
  EXPECT_THAT(native.keys().streams(), ElementsAre(3, 4));
  EXPECT_EQ(native.states(0).top_p(), 0.25);
  EXPECT_FALSE(native.states(1).has_top_p());
}

TEST(InferRequestTest, HistoriesArePaddedLists) {
  inference::ModelInferRequest request =
      WithInput("prompt_ids", "INT32", {2, 2}, Bytes<int32_t>({1, 2, 0, -1}));
  AddInput(request, "output_ids", "INT32", {2, 0}, "");
  AddInput(request, "bitmask", "INT32", {2, 1}, Bytes<int32_t>({7, 5}));
  const v1::SampleRequest native = Translate(request).request;
  EXPECT_THAT(native.histories().prompt_ids().lengths(), ElementsAre(2, 1));
  EXPECT_THAT(native.histories().prompt_ids().token_ids(), ElementsAre(1, 2, 0));
  EXPECT_THAT(native.histories().output_ids().lengths(), ElementsAre(0, 0));
  EXPECT_EQ(native.bitmask().words(), Bytes<int32_t>({7, 5}));
}

// Finds parameters that were added to the contract but not to the inputs.
TEST(InferRequestTest, EverySamplingParameterIsAnInput) {
  std::set<std::string> tops;
  for (const ModelInputField& field : InputFields()) {
    tops.insert(field.name.substr(0, field.name.find('.')));
  }
  const auto& params = *v1::SamplingParams::descriptor();
  for (int i = 0; i < params.field_count(); ++i) {
    EXPECT_THAT(tops, Contains(params.field(i)->name()));
  }
}

TEST(InferRequestTest, NoInputHasTheNameOfAnotherParameter) {
  for (const absl::string_view name : ReservedParameters()) {
    EXPECT_EQ(FindInputField(name), nullptr) << name;
    EXPECT_FALSE(IsMatrix(name)) << name;
    // The name is accepted.
    inference::ModelInferRequest request = Request();
    Parameter(request, std::string(name)).set_string_param("no value of any");
    InferCall call;
    EXPECT_THAT(std::string(TranslateRequest(kContext, request, call).message()),
                Not(HasSubstr("is not supported by this server")));
  }
}

TEST(InferRequestTest, LevelsOfPriorityAreThoseOfTriton) {
  inference::ModelInferRequest request = Request();
  EXPECT_EQ(Translate(request).priority, 0);
  for (const auto& [level, priority] : {std::pair(0, 0u), {1, 7u}, {2, 6u}, {8, 0u}}) {
    Parameter(request, "priority").set_int64_param(level);
    EXPECT_EQ(Translate(request).priority, priority);
    Parameter(request, "priority").set_uint64_param(static_cast<uint64_t>(level));
    EXPECT_EQ(Translate(request).priority, priority);
  }
  const std::string refusal =
      "parameters.priority must be in [1, 8], of which 1 is the most urgent, or 0, which is as 8, "
      "got ";
  Parameter(request, "priority").set_int64_param(9);
  EXPECT_EQ(Refusal(request), refusal + "9");
  Parameter(request, "priority").set_uint64_param(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(Refusal(request), refusal + "18446744073709551615");
  Parameter(request, "priority").set_int64_param(-1);
  EXPECT_EQ(Refusal(request), refusal + "-1");
  Parameter(request, "priority").set_string_param("0");
  EXPECT_EQ(Refusal(request), refusal + "\"0\"");
}

TEST(InferRequestTest, OutputsAskForTheirOptions) {
  inference::ModelInferRequest request = Request();
  for (const char* name : {"logprobs", "token_ids", "top_token_ids", "entropy", "gumbel_softmax"}) {
    request.add_outputs()->set_name(name);
  }
  const InferCall call = Translate(request);
  ASSERT_EQ(call.outputs.size(), 5u);
  EXPECT_EQ(call.outputs[1].field->name, "token_ids");
  EXPECT_EQ(call.request.outputs().ShortDebugString(),
            "logprobs: true top_logprobs: 1 entropy: true gumbel_softmax: 1");
}

TEST(InferRequestTest, KnowsOneModel) {
  inference::ModelInferRequest request = Request();
  request.set_model_name("llama");
  EXPECT_EQ(Refusal(request, absl::StatusCode::kNotFound),
            "no model \"llama\": this server's is \"sampler\"");
  request = Request();
  request.set_model_version("1");
  Translate(request);
  request.set_model_version("2");
  EXPECT_EQ(Refusal(request, absl::StatusCode::kNotFound),
            "no version \"2\" of model sampler: this server's is \"1\"");
}

TEST(InferRequestTest, RefusesMalformedTensors) {
  inference::ModelInferRequest request = Request();
  request.mutable_inputs(0)->set_shape(1, 4);
  EXPECT_EQ(Refusal(request),
            "inputs.logits must have 32 bytes for [2, 4] elements of FP32, got 24");
  request = Request();
  request.mutable_inputs(0)->set_shape(0, -2);
  EXPECT_THAT(Refusal(request), HasSubstr("inputs.logits.shape must have no negative dimension"));
  request = Request();
  for (int i = 0; i < 2; ++i) request.mutable_inputs(0)->set_shape(i, int64_t{1} << 32);
  EXPECT_THAT(Refusal(request), HasSubstr("at most 1099511627776 elements"));
  request = Request();
  request.mutable_inputs(0)->set_datatype("FP8");
  EXPECT_THAT(Refusal(request), HasSubstr("datatype must be one of BOOL, "));
  request = Request();
  request.mutable_inputs(0)->set_datatype("INT32");
  EXPECT_EQ(Refusal(request), "inputs.logits.datatype must be FP32, FP16, BF16 or FP64, got INT32");
  request = Request();
  request.mutable_inputs(0)->mutable_shape()->Clear();
  request.mutable_inputs(0)->add_shape(6);
  EXPECT_EQ(Refusal(request),
            "inputs.logits.shape must be [rows, vocab], at most [8, 1000], got [6]");
  request = Request();
  *request.mutable_inputs(0)->mutable_shape()->Mutable(0) = 9;
  *request.mutable_inputs(0)->mutable_shape()->Mutable(1) = 1;
  request.set_raw_input_contents(0, std::string(36, '\0'));
  EXPECT_EQ(Refusal(request),
            "inputs.logits.shape must be [rows, vocab], at most [8, 1000], got [9, 1]");
  request = Request();
  request.add_raw_input_contents("");
  EXPECT_EQ(
      Refusal(request),
      "raw_input_contents must have one entry per input that is not in shared memory (1), got 2");
  request = Request();
  request.mutable_inputs(0)->mutable_contents()->add_fp32_contents(1);
  EXPECT_EQ(Refusal(request),
            "inputs.logits must not have contents when raw_input_contents has entries");
  request = Request();
  request.mutable_inputs(0)->set_datatype("BF16");
  request.clear_raw_input_contents();
  EXPECT_EQ(Refusal(request),
            "inputs.logits: BF16 has no typed contents; send it in raw_input_contents");
}

TEST(InferRequestTest, RefusesMissingAndContradictoryInputs) {
  inference::ModelInferRequest request;
  request.set_model_name("sampler");
  EXPECT_EQ(Refusal(request), "inputs must hold logits or weights");
  EXPECT_EQ(Refusal(WithInput("weights", "FP32", {2, 3}, std::string(24, '\0'))),
            "inputs must not hold both logits and weights");
  EXPECT_EQ(Refusal(WithInput("logits", "FP32", {2, 3}, std::string(24, '\0'))),
            "inputs[1] has the name of another input, logits");
  EXPECT_EQ(Refusal(WithInput("top_m", "INT32", {2}, std::string(8, '\0'))),
            "inputs: the model has no input top_m; did you mean top_k?");
  EXPECT_EQ(Refusal(WithInput("top_k", "INT32", {3}, std::string(12, '\0'))),
            "inputs.top_k.shape must be [2, 1]: one entry per row");
  EXPECT_EQ(Refusal(WithInput("stop_ids", "INT32", {2}, std::string(8, '\0'))),
            "inputs.stop_ids.shape must be [2, n]: one entry per row");
  request = WithInput("top_k", "INT32", {2}, std::string(8, '\0'));
  Parameter(request, "top_k").set_int64_param(3);
  EXPECT_EQ(Refusal(request), "top_k must not be both an input and a parameter");
}

TEST(InferRequestTest, RefusesValuesThatDoNotFit) {
  EXPECT_EQ(Refusal(WithInput("top_k", "INT32", {2}, Bytes<int32_t>({1, -5}))),
            "inputs.top_k must be an integer in [0, 4294967295], where 0 is off, got -5");
  EXPECT_EQ(Refusal(WithInput("top_k", "FP32", {2}, Bytes<float>({1, 2.5f}))),
            "inputs.top_k must be an integer in [0, 4294967295], where 0 is off, got 2.5");
  EXPECT_EQ(Refusal(WithInput("top_k", "FP16", {2}, std::string(4, '\0'))),
            "inputs.top_k must not be of datatype FP16");
  EXPECT_EQ(Refusal(WithInput("prompt_ids", "INT32", {2, 1}, Bytes<int32_t>({1, -2}))),
            "inputs.prompt_ids must hold token ids, or -1 for none, got -2");
  EXPECT_EQ(Refusal(WithInput("stage_preset", "BYTES", {2}, Strings({"HF", "GGML"}))),
            "inputs.stage_preset must be one of VLLM, HF, LLAMA_CPP, SGLANG, got \"GGML\"");
  EXPECT_EQ(Refusal(WithInput("stage_preset", "BYTES", {2}, Strings({"HF"}))),
            "inputs.stage_preset must have 2 elements of BYTES, got 1");
  const std::string cut = Strings({"HF", "HF"}).substr(0, 9);
  EXPECT_EQ(Refusal(WithInput("stage_preset", "BYTES", {2}, cut)),
            "inputs.stage_preset: the last element of BYTES ends after the tensor's contents");
  EXPECT_EQ(Refusal(WithInput("bitmask", "INT64", {2, 1}, std::string(16, '\0'))),
            "inputs.bitmask.datatype must be INT32 or UINT32, got INT64");
}

TEST(InferRequestTest, RefusesWhatItWouldIgnore) {
  inference::ModelInferRequest request = Request();
  Parameter(request, "top_m").set_int64_param(3);
  EXPECT_EQ(Refusal(request),
            "parameters.top_m is not supported by this server; did you mean top_k?");
  request = Request();
  Parameter(request, "top_k");
  EXPECT_EQ(Refusal(request), "parameters.top_k must have a value");
  request = Request();
  Parameter(request, "timeout").set_int64_param(-1);
  EXPECT_EQ(Refusal(request), "parameters.timeout must be microseconds, 0 or more, got -1");
  request = Request();
  request.add_outputs()->set_name("tokens");
  EXPECT_EQ(Refusal(request), "outputs: the model has no output tokens; did you mean token_ids?");
  request = Request();
  request.add_outputs()->set_name("seed");
  request.add_outputs()->set_name("seed");
  EXPECT_EQ(Refusal(request), "outputs must name seed once");
  request = Request();
  (*request.add_outputs()->mutable_parameters())["classification"].set_int64_param(3);
  request.mutable_outputs(0)->set_name("token_ids");
  EXPECT_EQ(Refusal(request),
            "outputs.token_ids.parameters.classification is not supported by this server");
  request = Request();
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(99, 1);
  EXPECT_EQ(Refusal(request), "this server does not know field number 99 of ModelInferRequest");
}

// Terabytes of zeros that count what is read.
class Zeros final : public Region {
 public:
  explicit Zeros(uint64_t& bytes_read) : Region(uint64_t{1} << 40), bytes_read_(bytes_read) {}

  absl::Status Copy(uint64_t, size_t size, char* to) const override {
    bytes_read_ += size;
    std::memset(to, 0, size);
    return absl::OkStatus();
  }

 private:
  uint64_t& bytes_read_;
};

class SharedInputTest : public ::testing::Test {
 protected:
  SharedInputTest()
      : regions_({.kinds = "cuda", .open_cuda = [this](const CudaRegionRequest&) {
                    return std::make_shared<Zeros>(bytes_read_);
                  }}) {
    CudaRegionRequest request;
    request.handle = std::string(64, 'h');
    request.byte_size = 1;
    context_.regions = &regions_;
    context_.caller = IdentityOfPeer("unix:1000/1");
    EXPECT_TRUE(regions_.Register("zeros", request, context_.caller).ok());
  }

  // Adds an input that is in the region.
  static void Share(inference::ModelInferRequest& request, const std::string& name,
                    const std::string& datatype, const std::vector<int64_t>& shape,
                    int64_t byte_size) {
    AddInput(request, name, datatype, shape, "");
    request.mutable_raw_input_contents()->RemoveLast();
    auto& parameters = *request.mutable_inputs(request.inputs_size() - 1)->mutable_parameters();
    parameters["shared_memory_region"].set_string_param("zeros");
    parameters["shared_memory_byte_size"].set_int64_param(byte_size);
  }

  std::string RefusalOf(inference::ModelInferRequest request) const {
    InferCall call;
    const absl::Status status = TranslateRequest(context_, request, call);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  uint64_t bytes_read_ = 0;
  RegionRegistry regions_;
  CallContext context_ = kContext;
};

TEST_F(SharedInputTest, WhatIsRefusedIsNotReadBefore) {
  constexpr int64_t kMany = 100'000'000;
  inference::ModelInferRequest request = Request();
  Share(request, "top_m", "INT32", {kMany / 4}, kMany);
  EXPECT_EQ(RefusalOf(request), "inputs: the model has no input top_m; did you mean top_k?");
  request = Request();
  Share(request, "top_k", "INT32", {2}, kMany);
  EXPECT_EQ(RefusalOf(request),
            "inputs.top_k must have 8 bytes for [2] elements of INT32, got 100000000");
  request = Request();
  Share(request, "top_k", "INT33", {2}, kMany);
  EXPECT_THAT(RefusalOf(request), HasSubstr("datatype must be one of BOOL, "));
  request = Request();
  Share(request, "stage_preset", "BYTES", {2}, kMany);
  EXPECT_EQ(
      RefusalOf(request),
      "inputs.stage_preset must have at most 518 bytes for [2] elements of BYTES, got 100000000");
  EXPECT_EQ(bytes_read_, 0u);
}

TEST_F(SharedInputTest, ACallMayHaveSoManyBytesCopied) {
  constexpr int64_t kHalf = int64_t{1} << 27;
  inference::ModelInferRequest request = Request();
  Share(request, "prompt_ids", "INT32", {2, kHalf / 8}, kHalf);
  Share(request, "output_ids", "INT32", {2, kHalf / 8 + 1}, kHalf + 8);
  EXPECT_EQ(RefusalOf(request),
            "inputs.output_ids: inputs in shared memory may have 268435456 bytes per call besides "
            "logits and weights, got 268435464");
  EXPECT_EQ(bytes_read_, uint64_t{kHalf});
}

TEST_F(SharedInputTest, JobsCountWhatTheirInputsTake) {
  inference::ModelInferRequest request = WithInput("top_k", "INT32", {2}, Bytes<int32_t>({2, 1}));
  Share(request, "prompt_ids", "INT32", {2, 100}, 800);
  inference::ModelInferResponse response;
  InferenceStatistics statistics;
  InferJob job(response, statistics, [](const absl::Status&) {});
  ASSERT_TRUE(job.Decode(request, context_).ok());
  EXPECT_EQ(bytes_read_, 800u);
  EXPECT_EQ(job.bytes, 2 * 3 * sizeof(float) + 8 + 800);
}

TEST(InferRequestTest, RefusesSharedMemoryThatIsNotThere) {
  inference::ModelInferRequest request = Request();
  request.clear_raw_input_contents();
  request.mutable_inputs(0)->clear_contents();
  auto& parameters = *request.mutable_inputs(0)->mutable_parameters();
  parameters["shared_memory_region"].set_string_param("here");
  EXPECT_EQ(Refusal(request),
            "inputs.logits.parameters.shared_memory_byte_size must be set for a tensor in shared "
            "memory");
  parameters.erase("shared_memory_region");
  parameters["shared_memory_byte_size"].set_int64_param(24);
  EXPECT_EQ(Refusal(request),
            "inputs.logits.parameters.shared_memory_region must be set for a tensor in shared "
            "memory");
  parameters["shared_memory_offset"].set_int64_param(0);
  EXPECT_EQ(Refusal(request),
            "inputs.logits.parameters.shared_memory_region must be set for a tensor in shared "
            "memory");
  parameters.erase("shared_memory_offset");
  parameters["shared_memory_region"].set_string_param("here");
  parameters["shared_memory_byte_size"].set_int64_param(-1);
  EXPECT_EQ(Refusal(request),
            "inputs.logits.parameters.shared_memory_byte_size must be an integer, 0 or more");
  parameters["shared_memory_byte_size"].set_int64_param(8);
  EXPECT_EQ(Refusal(request, absl::StatusCode::kFailedPrecondition),
            "inputs.logits: the server has no shared memory");
  request.mutable_inputs(0)->mutable_contents()->add_fp32_contents(1.0f);
  EXPECT_EQ(Refusal(request), "inputs.logits must not have contents when it is in shared memory");
  request = Request();
  (*request.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_bool_param(true);
  EXPECT_EQ(Refusal(request), "inputs.logits.parameters.shared_memory_region must be a string");
}

}  // namespace
}  // namespace token_sampler
