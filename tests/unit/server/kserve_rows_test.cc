// Tests the generators and histories of rows over the Open Inference Protocol, and parameters that
// have no effect without them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/server/kserve_fixture.h"

namespace token_sampler {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Element>
void AddInput(const std::string& name, const std::string& datatype, int64_t rows,
              const std::vector<Element>& elements, inference::ModelInferRequest& request) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(datatype);
  input.add_shape(rows);
  input.add_shape(static_cast<int64_t>(elements.size()) / rows);
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(elements.data()),
                                           elements.size() * sizeof(Element));
}

inference::InferParameter& Parameter(inference::ModelInferRequest& request,
                                     const std::string& name) {
  return (*request.mutable_parameters())[name];
}

class KserveRowsTest : private WithReference, public KserveTest {
 protected:
  KserveRowsTest() : KserveTest(*sampler) {}

  template <typename Element>
  std::vector<Element> Output(const std::string& name, inference::ModelInferRequest request) {
    request.clear_outputs();
    request.add_outputs()->set_name(name);
    const inference::ModelInferResponse response = Infer(request);
    if (response.raw_output_contents().empty()) return {};
    return Elements<Element>(response.raw_output_contents(0));
  }

  std::string Refusal(const inference::ModelInferRequest& request) {
    const grpc::Status status = InferStatus(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  }
};

TEST_F(KserveRowsTest, ASeedThatIsAParameterGivesEachRowItsStream) {
  constexpr int64_t kRows = 50;
  inference::ModelInferRequest request = Request(std::vector<float>(kRows * 100), kRows);
  Parameter(request, "seed").set_int64_param(42);
  std::vector<uint32_t> streams;
  for (uint32_t row = 0; row < kRows; ++row) streams.push_back(row);
  EXPECT_EQ(Output<uint32_t>("stream", request), streams);
  const std::vector<int32_t> tokens = Output<int32_t>("token_ids", request);
  EXPECT_THAT(tokens, Not(Each(tokens[0])));
}

TEST_F(KserveRowsTest, SeedsOfTheRowsHaveStream0) {
  for (const size_t rows : {1u, 3u}) {
    const auto count = static_cast<int64_t>(rows);
    inference::ModelInferRequest request = Request(std::vector<float>(rows * 100), count);
    AddInput("seed", "UINT64", count, std::vector<uint64_t>(rows, 42), request);
    EXPECT_THAT(Output<uint32_t>("stream", request), Each(0u));
    EXPECT_THAT(Output<uint64_t>("seed", request), Each(42u));
  }
}

TEST_F(KserveRowsTest, ANeededHistoryIsAskedFor) {
  inference::ModelInferRequest request = Request({1, 2, 3, 4}, 2);
  Parameter(request, "frequency_penalty").set_double_param(1.0);
  Parameter(request, "step").set_int64_param(3);
  EXPECT_THAT(Refusal(request), HasSubstr("parameters.frequency_penalty needs a history"));
  inference::ModelInferRequest prompted = request;
  AddInput<int32_t>("prompt_ids", "INT32", 2, {1, 0}, prompted);
  EXPECT_THAT(Refusal(prompted), HasSubstr("parameters.frequency_penalty needs the output"));
  // The shape is [2, 0]: there is no output.
  AddInput<int32_t>("output_ids", "INT32", 2, {}, request);
  EXPECT_THAT(Output<int32_t>("status", request), ElementsAre(0, 0));
}

TEST_F(KserveRowsTest, UnknownIdsAreSkippedAndCounted) {
  inference::ModelInferRequest request = Request({1, 2, 1, 2}, 2);
  AddInput<int32_t>("output_ids", "INT32", 2, {2, 1, 1, 128'256, -1, -1}, request);
  Parameter(request, "frequency_penalty").set_double_param(9.0);
  Parameter(request, "temperature").set_double_param(0.0);
  EXPECT_THAT(Output<int32_t>("status", request), Each(v1::ROW_CODE_INVALID_INPUT));
  Parameter(request, "skip_unknown_ids").set_bool_param(true);
  EXPECT_THAT(Output<int32_t>("token_ids", request), ElementsAre(0, 1));
  EXPECT_THAT(Output<uint32_t>("skipped_ids", request), ElementsAre(1, 1));
}

TEST_F(KserveRowsTest, SkippingSaysNothingOfAHistory) {
  inference::ModelInferRequest request = Request({1, 2}, 1);
  Parameter(request, "skip_unknown_ids").set_bool_param(true);
  EXPECT_EQ(Refusal(request),
            "parameters.skip_unknown_ids needs the input prompt_ids or output_ids");
  Parameter(request, "skip_unknown_ids").set_bool_param(false);
  EXPECT_THAT(Output<uint32_t>("skipped_ids", request), ElementsAre(0));
  Parameter(request, "presence_penalty").set_double_param(1.0);
  Parameter(request, "step").set_int64_param(1);
  EXPECT_THAT(Refusal(request), HasSubstr("parameters.presence_penalty "));
}

TEST_F(KserveRowsTest, SizesOfOutputsThatAreNotAskedForAreRefused) {
  inference::ModelInferRequest request = Request({1, 2}, 1);
  Parameter(request, "top_logprobs").set_int64_param(2);
  EXPECT_EQ(Refusal(request),
            "parameters.top_logprobs needs the output top_token_ids or top_logprobs");
  EXPECT_EQ(Output<int32_t>("top_token_ids", request), (std::vector<int32_t>{1, 0}));
  Parameter(request, "top_logprobs").set_int64_param(0);
  EXPECT_TRUE(InferStatus(request).ok());
  Parameter(request, "gumbel_softmax").set_double_param(0.5);
  EXPECT_EQ(Refusal(request), "parameters.gumbel_softmax needs the output gumbel_softmax");
}

}  // namespace
}  // namespace token_sampler
