// Tests what Describe refuses besides what Sample does, with which messages.

#include "server/codec/describe_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/tensors.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;

// Makes a request for a row of three tokens, changed by fields in text format.
v1::DescribeRequest Changed(const std::string& text) {
  v1::DescribeRequest request;
  SetTensor(1, {1, 2, 3}, *request.mutable_request()->mutable_tensor());
  v1::DescribeRequest change;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &change)) << text;
  request.MergeFrom(change);
  return request;
}

absl::Status Decode(const v1::DescribeRequest& request, DecodedSample& decoded,
                    const RequestLimits& limits = {}) {
  return DecodeDescribe(request, {.limits = limits}, decoded).status();
}

TEST(DescribeCodecTest, NamesWhatIsWrong) {
  const auto refusal = [](const std::string& change, const RequestLimits& limits = {}) {
    DecodedSample decoded;
    const absl::Status status = Decode(Changed(change), decoded, limits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << change;
    return std::string(status.message());
  };
  EXPECT_EQ(refusal("request { tensor { rows: 2 } }"), "request.tensor.rows must be 1, got 2");
  EXPECT_EQ(refusal("request { tensor { candidates { } } }"),
            "request.tensor.candidates must not be set: only Sample takes candidates");
  EXPECT_EQ(refusal("request { outputs { logprobs: true } }"),
            "request.outputs must not be set: nothing is drawn");
  EXPECT_EQ(refusal("top_n: 4"), "top_n must be at most the 3 tokens of the row, got 4");
  EXPECT_EQ(refusal("top_n: 3", {.max_response_bytes = 300}),
            "top_n must be smaller, got 3: the answer could have 328 bytes, above the limit of 300 "
            "(--max-response-bytes)");
}

TEST(DescribeCodecTest, CountsTheUnknownIdsThatItSkips) {
  DecodedSample decoded;
  const absl::Status status =
      Decode(Changed("request { histories { prompt_ids { lengths: 2 token_ids: [1, 5] } "
                     "skip_unknown_ids: true } }"),
             decoded);
  ASSERT_TRUE(status.ok()) << status;
  v1::DescribeResponse response;
  EncodeDescribe(decoded, {}, {}, response);
  EXPECT_THAT(response.skipped_ids(), ElementsAre(1));
}

}  // namespace
}  // namespace token_sampler
