// Tests VerifyDraft of the client library against a server in this process.

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/client/fake_server.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {
namespace {

using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VerifyDraftClientTest : public ::testing::Test {
 protected:
  VerifyDraftClientTest() {
    request_.target = Float32Matrix(target_, 2);
    request_.sequences = {{.token_ids = {1, 0}}, {}};
  }

  void Answer(const std::string& text) {
    v1::VerifyDraftResponse response;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
    server_.AnswerDrafts(std::move(response));
  }

  absl::StatusOr<VerifyDraftResult> Verify(const ClientOptions& options = {}) {
    return SamplerClient::Connect(server_.address(), options)->VerifyDraft(request_);
  }

  FakeServer server_;
  const std::vector<float> target_ = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> draft_ = {.5, .25, .125, .0625};
  VerifyDraftRequest request_;
};

TEST_F(VerifyDraftClientTest, SendsEveryFieldOfTheRequest) {
  Answer("accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1]");
  request_.kind = InputKind::kLogits;
  request_.draft = Float32Matrix(draft_, 2);
  request_.draft_kind = InputKind::kWeights;
  request_.params = {{.top_k = 1}, {.top_k = 2}};
  request_.sequence_params = {1, 0};
  request_.keys = {.seeds = {7}, .steps = {8, 9}, .streams = {}};
  request_.histories = {{.prompt_ids = {5}, .output_ids = {6}}, {}};
  request_.bitmask = "abcdefghijklmnop";
  ASSERT_TRUE(Verify().ok());

  const v1::VerifyDraftRequest sent = server_.last_draft_request();
  EXPECT_EQ(sent.target().rows(), 4u);
  EXPECT_EQ(sent.target().vocab(), 2u);
  EXPECT_EQ(sent.target().data(),
            std::string(reinterpret_cast<const char*>(target_.data()), target_.size() * 4));
  EXPECT_EQ(sent.draft().rows(), 2u);
  EXPECT_EQ(sent.draft().data(),
            std::string(reinterpret_cast<const char*>(draft_.data()), draft_.size() * 4));
  EXPECT_EQ(sent.input_kind(), v1::INPUT_KIND_LOGITS);
  EXPECT_EQ(sent.draft_kind(), v1::INPUT_KIND_WEIGHTS);
  EXPECT_THAT(sent.draft_lengths(), ElementsAre(2, 0));
  EXPECT_THAT(sent.draft_token_ids(), ElementsAre(1, 0));
  EXPECT_THAT(sent.parents(), IsEmpty());
  ASSERT_EQ(sent.params_size(), 2);
  EXPECT_EQ(sent.params(1).top_k(), 2u);
  EXPECT_THAT(sent.sequence_params(), ElementsAre(1, 0));
  EXPECT_THAT(sent.keys().seeds(), ElementsAre(7));
  EXPECT_THAT(sent.keys().steps(), ElementsAre(8, 9));
  EXPECT_THAT(sent.histories().prompt_ids().lengths(), ElementsAre(1, 0));
  EXPECT_THAT(sent.histories().output_ids().token_ids(), ElementsAre(6));
  EXPECT_EQ(sent.bitmask().words(), "abcdefghijklmnop");
}

TEST_F(VerifyDraftClientTest, SendsOnlyWhatIsSet) {
  Answer("accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1]");
  ASSERT_TRUE(Verify().ok());
  const v1::VerifyDraftRequest sent = server_.last_draft_request();
  EXPECT_FALSE(sent.has_draft());
  EXPECT_FALSE(sent.has_draft_kind());
  EXPECT_FALSE(sent.has_histories());
  EXPECT_FALSE(sent.has_bitmask());
}

TEST_F(VerifyDraftClientTest, ChainsBesideTreesAreSentAsTrees) {
  Answer(
      "accepted_counts: [2, 1] accepted_nodes: [0, 1, 1] token_ids: [1, 0, 1, 1, 0] seeds: [1, 2] "
      "streams: [0, 1]");
  request_.sequences = {{.token_ids = {1, 0}}, {.token_ids = {0, 1}, .parents = {-1, -1}}};
  const absl::StatusOr<VerifyDraftResult> result = Verify();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(server_.last_draft_request().parents(), ElementsAre(-1, 0, -1, -1));
  EXPECT_THAT(result->sequences[0].accepted_nodes, ElementsAre(0, 1));
  EXPECT_THAT(result->sequences[0].token_ids, ElementsAre(1, 0, 1));
  EXPECT_THAT(result->sequences[1].accepted_nodes, ElementsAre(1));
  EXPECT_THAT(result->sequences[1].token_ids, ElementsAre(1, 0));
}

TEST_F(VerifyDraftClientTest, ReadsWhatBecameOfEachSequence) {
  Answer(
      "spec_version: 1 accepted_counts: [0, 0] token_ids: 5 seeds: [8, 9] streams: [3, 4] "
      "sequence_statuses { row: 0 code: ROW_CODE_NAN message: 'target row 1: bad' }");
  const absl::StatusOr<VerifyDraftResult> result = Verify();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->spec_version, 1u);
  ASSERT_EQ(result->sequences.size(), 2u);
  EXPECT_TRUE(result->sequences[0].failed());
  EXPECT_EQ(result->sequences[0].code, RowCode::kNan);
  EXPECT_EQ(result->sequences[0].message, "target row 1: bad");
  EXPECT_THAT(result->sequences[0].token_ids, IsEmpty());
  EXPECT_FALSE(result->sequences[1].failed());
  EXPECT_EQ(result->sequences[1].accepted, 0u);
  EXPECT_THAT(result->sequences[1].token_ids, ElementsAre(5));
  EXPECT_EQ(result->sequences[1].seed, 9u);
  EXPECT_EQ(result->sequences[1].stream, 4u);
  EXPECT_FALSE(result->sequences[1].skipped_ids.has_value());
}

TEST_F(VerifyDraftClientTest, SkipsUnknownIdsWhenThatIsAsked) {
  Answer(
      "accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1] "
      "skipped_ids: [0, 5]");
  request_.skip_unknown_ids = true;
  const absl::Status refused = Verify().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("skip_unknown_ids "));
  request_.histories = {{}, {.prompt_ids = {9}}};
  const absl::StatusOr<VerifyDraftResult> result = Verify();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(server_.last_draft_request().histories().skip_unknown_ids());
  EXPECT_EQ(result->sequences[1].skipped_ids, 5u);
}

TEST_F(VerifyDraftClientTest, RejectsAnswersThatDoNotHoldTogether) {
  for (const char* answer :
       {"accepted_counts: 0 token_ids: 0 seeds: 1 streams: 0",
        "accepted_counts: [0, 0] token_ids: [0, 0] seeds: 1 streams: [0, 1]",
        "accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: 0",
        "accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1] skipped_ids: 0",
        "accepted_counts: [1, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1]",
        "accepted_counts: [0, 0] token_ids: [0, 0, 0] seeds: [1, 2] streams: [0, 1]",
        "accepted_counts: [1, 0] token_ids: [0, 0, 0] accepted_nodes: 0 seeds: [1, 2] streams: [0, "
        "1]",
        "accepted_counts: [0, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1] sequence_statuses "
        "{ row: 2 }",
        "accepted_counts: [1, 0] token_ids: [0, 0] seeds: [1, 2] streams: [0, 1] "
        "sequence_statuses { row: 0 code: ROW_CODE_NAN }",
        "accepted_counts: [4294967295, 4294967295] token_ids: 0 seeds: [1, 2] streams: [0, 1]"}) {
    Answer(answer);
    EXPECT_EQ(Verify().status().code(), absl::StatusCode::kInternal) << answer;
  }
}

TEST_F(VerifyDraftClientTest, NamesWhatIsWrongWithTheRequest) {
  request_.sequences[0].parents = {-1};
  EXPECT_EQ(Verify().status().message(),
            "sequences[0].parents must have one entry per drafted token (2) or none, got 1");
  request_.sequences[0].parents = {};
  request_.draft = Float32Matrix(draft_, 3);
  EXPECT_THAT(std::string(Verify().status().message()), HasSubstr("draft of 1 row of 3 f32"));
  request_.draft = {};
  request_.target.values = nullptr;
  EXPECT_EQ(Verify().status().message(), "target.values must not be null");
}

TEST_F(VerifyDraftClientTest, HoldsBackRequestsAboveItsOwnLimit) {
  const absl::Status status = Verify({.max_message_bytes = 40}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_message_bytes is 40"));
}

}  // namespace
}  // namespace token_sampler::client
