// Tests what VerifyDraft refuses, with which messages, and how it answers valid requests.

#include "server/codec/verify_draft_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "sampler/reference/reference_sampler.h"
#include "tests/testing/tensors.h"

namespace token_sampler {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::StartsWith;

const CallContext kContext = {.limits = {.max_rows = 8, .max_vocab = 1000}};

// Makes a request with two sequences of weights over three tokens, with two drafted tokens and one,
// and with draft rows. All draws are certain, and all tokens are accepted. Fields in text format
// change it.
v1::VerifyDraftRequest Changed(const std::string& text) {
  v1::VerifyDraftRequest request;
  SetTensor(5, {0, 1, 0, 0, 0, 1, 1, 0, 0, /**/ 0, 1, 0, 0, 0, 1}, *request.mutable_target());
  SetTensor(3, {0, 1, 0, 0, 0, 1, /**/ 0, 1, 0}, *request.mutable_draft());
  request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  request.mutable_draft_lengths()->Add(2);
  request.mutable_draft_lengths()->Add(1);
  for (const uint32_t id : {1u, 2u, 1u}) request.add_draft_token_ids(id);
  v1::VerifyDraftRequest change;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &change)) << text;
  request.MergeFrom(change);
  return request;
}

// The outcome of a request, sampled by the reference sampler through the codec.
struct Outcome {
  absl::Status status;
  v1::VerifyDraftResponse response;
};

Outcome Verify(const v1::VerifyDraftRequest& request) {
  Outcome outcome;
  DecodedDrafts decoded;
  outcome.status = DecodeVerifyDraft(request, kContext, decoded);
  if (!outcome.status.ok()) return outcome;
  std::vector<DraftResult> results(decoded.inputs.size());
  outcome.status = VerifyDrafts(*CreateReferenceSampler(), decoded.inputs, absl::MakeSpan(results));
  EncodeVerifyDraft(decoded, results, outcome.response);
  return outcome;
}

TEST(VerifyDraftCodecTest, ChainsOfEachSequence) {
  const Outcome outcome = Verify(Changed("keys { seeds: [7, 8] }"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.response.spec_version(), kSpecVersion);
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(2, 1));
  EXPECT_THAT(outcome.response.token_ids(), ElementsAre(1, 2, 0, 1, 2));
  EXPECT_THAT(outcome.response.accepted_nodes(), IsEmpty());
  EXPECT_THAT(outcome.response.seeds(), ElementsAre(7, 8));
  EXPECT_EQ(outcome.response.sequence_statuses_size(), 0);
}

TEST(VerifyDraftCodecTest, SequencesOfOneSeedHaveStreamsOfTheirOwn) {
  EXPECT_THAT(Verify(Changed("keys { seeds: 7 }")).response.streams(), ElementsAre(0, 1));
  EXPECT_THAT(Verify(Changed("keys { seeds: [7, 7] }")).response.streams(), ElementsAre(0, 0));
  EXPECT_THAT(Verify(Changed("keys { seeds: 7 streams: 3 }")).response.streams(),
              ElementsAre(3, 3));
  // Each sequence draws its bonus token from the same flat row.
  v1::VerifyDraftRequest request = Changed("keys { seeds: 7 }");
  std::vector<float> target(5 * 1000, 0.0f);
  for (const size_t row : {0u, 1u, 3u}) target[row * 1000 + (row == 1 ? 2 : 1)] = 1.0f;
  for (const size_t row : {2u, 4u}) {
    std::fill_n(target.begin() + static_cast<std::ptrdiff_t>(row) * 1000, 1000, 1.0f);
  }
  SetTensor(5, target, *request.mutable_target());
  request.clear_draft();
  const v1::VerifyDraftResponse response = Verify(request).response;
  ASSERT_THAT(response.accepted_counts(), ElementsAre(2, 1));
  EXPECT_NE(response.token_ids(2), response.token_ids(4));
}

TEST(VerifyDraftCodecTest, ASequenceWithoutTheHistoryThatItNeedsFailsAlone) {
  const std::string change =
      "params { no_repeat_ngram_size: 9 } params { } sequence_params: [0, 1] keys { steps: 6 } ";
  Outcome outcome = Verify(Changed(change));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(0, 1));
  ASSERT_EQ(outcome.response.sequence_statuses_size(), 1);
  EXPECT_EQ(outcome.response.sequence_statuses(0).code(), v1::ROW_CODE_INVALID_PARAMS);
  EXPECT_THAT(outcome.response.sequence_statuses(0).message(),
              StartsWith("sequence 0: params[0].no_repeat_ngram_size needs a history at step 6"));
  outcome = Verify(Changed(change + "histories { }"));
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(2, 1));
}

TEST(VerifyDraftCodecTest, UnknownIdsOfAHistoryAreSkippedAndCounted) {
  const std::string change =
      "params { no_repeat_ngram_size: 2 } "
      "histories { output_ids { lengths: [1, 3] token_ids: [3, 1, 4, 5] } ";
  EXPECT_EQ(Verify(Changed(change + "}")).response.sequence_statuses_size(), 2);
  const Outcome outcome = Verify(Changed(change + "skip_unknown_ids: true }"));
  EXPECT_EQ(outcome.response.sequence_statuses_size(), 0);
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(2, 1));
  EXPECT_THAT(outcome.response.skipped_ids(), ElementsAre(1, 2));
}

TEST(VerifyDraftCodecTest, TreesNameTheirNodes) {
  v1::VerifyDraftRequest request = Changed("parents: [-1, -1, -1]");
  request.set_draft_token_ids(0, 0);
  request.set_draft_token_ids(1, 1);
  request.clear_draft();
  // Node 1 of the first sequence, then its row; the second as before.
  const Outcome outcome = Verify(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(1, 1));
  EXPECT_THAT(outcome.response.accepted_nodes(), ElementsAre(1, 0));
  EXPECT_THAT(outcome.response.token_ids(), ElementsAre(1, 0, 1, 2));
}

// Each sequence has its own draft rows, history, mask, profile and key.
TEST(VerifyDraftCodecTest, SequencesGetTheirOwn) {
  v1::VerifyDraftRequest request = Changed(
      "params { temperature: 0 } params { temperature: 0 no_repeat_ngram_size: 1 } "
      "sequence_params: [0, 1] histories { output_ids { lengths: [0, 1] token_ids: 1 } } "
      "bitmask { words: '\\004\\000\\000\\000' rows: 2 } draft_kind: INPUT_KIND_WEIGHTS");
  SetTensor(5, {1, 2, 1, 1, 1, 2, 2, 1, 1, /**/ 1, 2, 1, 1, 1, 2}, *request.mutable_target());
  const Outcome outcome = Verify(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  // The mask allows only token 2 as the bonus of the first sequence. The history bans token 1 in
  // the second.
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(2, 0));
  EXPECT_THAT(outcome.response.token_ids(), ElementsAre(1, 2, 2, 0));
}

TEST(VerifyDraftCodecTest, ABadSequenceFailsAlone) {
  v1::VerifyDraftRequest request = Changed("");
  const float nan = std::nanf("");
  std::memcpy(request.mutable_draft()->mutable_data()->data() + 4 * sizeof(float), &nan,
              sizeof(nan));
  const Outcome outcome = Verify(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(0, 1));
  EXPECT_THAT(outcome.response.token_ids(), ElementsAre(1, 2));
  ASSERT_EQ(outcome.response.sequence_statuses_size(), 1);
  EXPECT_EQ(outcome.response.sequence_statuses(0).row(), 0u);
  EXPECT_EQ(outcome.response.sequence_statuses(0).code(), v1::ROW_CODE_NAN);
  EXPECT_THAT(outcome.response.sequence_statuses(0).message(),
              StartsWith("draft row 1: weight of token 1 "));
}

TEST(VerifyDraftCodecTest, ABadProfileFailsItsSequencesAlone) {
  const Outcome outcome =
      Verify(Changed("params { mirostat { version: 2 } } params { } sequence_params: [0, 1]"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.response.accepted_counts(), ElementsAre(0, 1));
  ASSERT_EQ(outcome.response.sequence_statuses_size(), 1);
  EXPECT_EQ(outcome.response.sequence_statuses(0).code(), v1::ROW_CODE_INVALID_PARAMS);
  EXPECT_THAT(outcome.response.sequence_statuses(0).message(),
              StartsWith("sequence 0: params[0].mirostat "));
}

TEST(VerifyDraftCodecTest, WithoutASeedEverySequenceGetsOneThatRepeatsIt) {
  v1::VerifyDraftRequest request = Changed("");
  SetTensor(5, std::vector<float>(15, 1.0f), *request.mutable_target());
  const v1::VerifyDraftResponse first = Verify(request).response;
  ASSERT_EQ(first.seeds_size(), 2);
  EXPECT_NE(first.seeds(0), first.seeds(1));
  *request.mutable_keys()->mutable_seeds() = first.seeds();
  const v1::VerifyDraftResponse again = Verify(request).response;
  EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
}

struct Refusal {
  const char* name;
  const char* change;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* os) { *os << refusal.name; }

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, IsInvalidArgumentAndNamesWhatIsWrong) {
  const absl::Status status = Verify(Changed(GetParam().change)).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Shape, RefusalTest,
    ::testing::Values(
        Refusal{"target_rows", "target { rows: 4 }",
                "target.rows must be 5, one per drafted token (3) and one per sequence (2), got 4"},
        Refusal{"one_more_sequence", "draft_lengths: 0",
                "target.rows must be 6, one per drafted token (3) and one per sequence (3), got 5"},
        Refusal{"too_many_nodes", "draft_lengths: [4294967295, 4294967295]",
                "draft_lengths must sum up to at most 16777215, got 8589934593"},
        Refusal{"ids", "draft_token_ids: 1",
                "draft_token_ids must have as many entries as draft_lengths sum up to, 3, got 4"},
        Refusal{"parents", "parents: [-1, 0]",
                "parents must have one entry per drafted token (3) or none, got 2"},
        Refusal{"parent_is_itself", "parents: [-1, 1, -1]",
                "parents[1] must be -1 or a node of its sequence before node 1, got 1"},
        Refusal{"parent_of_another_sequence", "parents: [-1, 0, 0]",
                "parents[2] must be -1 or a node of its sequence before node 0, got 0"},
        Refusal{"parent_too_low", "parents: [-2, 0, -1]",
                "parents[0] must be -1 or a node of its sequence before node 0, got -2"},
        Refusal{"draft_rows", "draft { rows: 5 }",
                "draft.rows must be one per drafted token (3), got 5"},
        Refusal{"draft_vocab",
                "draft { vocab: 4 data: '012345678901234567890123456789012345678901234567' }",
                "draft.vocab must be that of target, 3, got 4"}),
    [](const auto& tested) { return tested.param.name; });

// The tests of Sample's requests and of the parameters have the rest of these sentences.
TEST(RefusalOfPartsTest, NamesSequenceAndField) {
  const auto refusal = [](const std::string& change) {
    const absl::Status status = Verify(Changed(change)).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << change;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal("draft { data: '' }"), StartsWith("draft.data "));
  EXPECT_THAT(refusal("target { dtype: DATA_TYPE_FLOAT64 }"), StartsWith("target.data "));
  EXPECT_THAT(refusal("params { num_samples: 2 }"),
              StartsWith("sequence 0: params[0].num_samples "));
  EXPECT_THAT(refusal("params { top_p: 2 }"), StartsWith("sequence 0: params[0].top_p "));
  EXPECT_THAT(refusal("params { } params { } sequence_params: 0"),
              StartsWith("sequence_params must have one entry per sequence (2)"));
  EXPECT_THAT(refusal("keys { streams: [1, 2, 3] }"),
              StartsWith("keys.streams must have one entry per sequence (2)"));
  EXPECT_THAT(refusal("histories { prompt_set { lengths: 1 token_ids: 1 } }"),
              StartsWith("histories.prompt_set.lengths must have one entry per sequence (2)"));
  EXPECT_THAT(refusal("bitmask { words: 'abcd' }"), StartsWith("bitmask.words "));
}

TEST(VerifyDraftCodecTest, RefusesWhatIsMissing) {
  EXPECT_EQ(Verify({}).status.message(), "target must be set");
  v1::VerifyDraftRequest request = Changed("");
  request.clear_draft_lengths();
  EXPECT_EQ(Verify(request).status.message(),
            "draft_lengths must have an entry per sequence, got none");
  request = Changed("draft_kind: INPUT_KIND_WEIGHTS");
  request.clear_draft();
  EXPECT_EQ(Verify(request).status.message(), "draft_kind must not be set without draft");
  request = Changed("");
  request.set_draft_token_ids(1, 3);
  EXPECT_EQ(Verify(request).status.message(),
            "draft_token_ids[1] must be below the vocabulary of 3, got 3");
}

// With a history of 2^19 tokens, a chain of 2^12 rows has 2^31 tokens to read.
TEST(VerifyDraftCodecTest, RefusesHistoriesThatTakeTooLong) {
  constexpr uint32_t kRows = 1 << 12;
  constexpr int kHistory = 1 << 19;
  v1::VerifyDraftRequest request;
  SetTensor(kRows, std::vector<float>(kRows, 0.0f), *request.mutable_target());
  request.add_draft_lengths(kRows - 1);
  request.mutable_draft_token_ids()->Resize(kRows - 1, 0);
  v1::IdLists& output = *request.mutable_histories()->mutable_output_ids();
  output.add_lengths(kHistory);
  output.mutable_token_ids()->Resize(kHistory, 0);
  DecodedDrafts decoded;
  EXPECT_EQ(DecodeVerifyDraft(request, {}, decoded).message(),
            "histories must have at most 1073741824 tokens, each counted for every row of its "
            "sequence, got 2147483648");
}

// Expects that a client can read the answer: each sequence has a token behind its accepted ones, or
// a status that says why not.
void ExpectAnswerOf(const v1::VerifyDraftRequest& request,
                    const v1::VerifyDraftResponse& response) {
  ASSERT_EQ(response.accepted_counts_size(), request.draft_lengths_size());
  std::set<uint32_t> failed;
  for (const v1::RowStatus& status : response.sequence_statuses()) {
    EXPECT_FALSE(status.message().empty());
    if (status.code() != v1::ROW_CODE_SANITIZED) failed.insert(status.row());
  }
  uint32_t tokens = 0;
  for (int s = 0; s < response.accepted_counts_size(); ++s) {
    EXPECT_LE(response.accepted_counts(s), request.draft_lengths(s));
    if (failed.count(static_cast<uint32_t>(s)) == 0) tokens += response.accepted_counts(s) + 1;
  }
  ASSERT_EQ(response.token_ids_size(), static_cast<int>(tokens));
  EXPECT_THAT(response.token_ids(), Each(Lt(request.target().vocab())));
}

TEST(MutationTest, WhateverIsChangedTheAnswerIsARefusalOrWhole) {
  const std::string good = Changed(
                               "params { top_k: 2 } sequence_params: [0, 0] keys { seeds: [1, 2] } "
                               "parents: [-1, 0, -1] draft_kind: INPUT_KIND_WEIGHTS "
                               "histories { output_ids { lengths: [1, 1] token_ids: [2, 0] } } "
                               "bitmask { words: 'abcdabcdabcdabcdabcd' }")
                               .SerializeAsString();
  std::mt19937 random(20261123);
  int verified = 0;
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint32_t change = 0; change <= random() % 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    v1::VerifyDraftRequest request;
    if (!request.ParseFromString(bytes)) continue;
    SCOPED_TRACE(request.ShortDebugString());
    const Outcome outcome = Verify(request);
    if (outcome.status.ok()) {
      ++verified;
      ExpectAnswerOf(request, outcome.response);
    } else {
      ++refused;
      EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument) << outcome.status;
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(verified, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace token_sampler
