// Tests what VerifyDrafts reports of rows that cannot be sampled, and which parameters suit a
// draft.

#include "sampler/verify_draft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "tests/testing/draft_case.h"

namespace token_sampler {
namespace {

using testing::DraftCase;
using testing::DraftView;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Verify;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Makes a chain of two drafted tokens, both of which the target accepts, with the bonus token 0.
DraftCase CertainChain() {
  DraftCase draft;
  draft.target = {{0, 9, 0}, {0, 0, 9}, {9, 0, 0}};
  draft.token_ids = {1, 2};
  draft.params.temperature = 0;
  return draft;
}

// The same with weights, for which draft and target agree.
DraftCase AgreeingChain() {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{0, 1, 0}, {0, 0, 1}, {1, 0, 0}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{0, 1, 0}, {0, 0, 1}};
  draft.token_ids = {1, 2};
  return draft;
}

TEST(VerifyDraftsTest, AcceptedTokensThenOneMore) {
  for (const DraftCase& draft : {CertainChain(), AgreeingChain()}) {
    const DraftResult result = Verify(draft);
    EXPECT_EQ(result.code, RowCode::kOk);
    EXPECT_THAT(result.accepted_nodes, ElementsAre(0, 1));
    EXPECT_THAT(result.token_ids, ElementsAre(1, 2, 0));
  }
}

TEST(VerifyDraftsTest, NoSequencesIsNothingToDo) {
  EXPECT_TRUE(VerifyDrafts(*CreateReferenceSampler(), {}, {}).ok());
}

// More sequences than are verified at a time.
TEST(VerifyDraftsTest, ManySequences) {
  DraftCase draft = AgreeingChain();
  for (std::vector<float>& row : draft.target) row.resize(1000);
  for (std::vector<float>& row : draft.draft) row.resize(1000);
  const DraftView view(draft);
  const std::vector<DraftInput> inputs(40'000, view.input());
  std::vector<DraftResult> results(inputs.size());
  const std::unique_ptr<Sampler> sampler = *CreateCpuSampler({.threads = 1});
  ASSERT_TRUE(VerifyDrafts(*sampler, inputs, absl::MakeSpan(results)).ok());
  for (const DraftResult& result : results) ASSERT_THAT(result.token_ids, ElementsAre(1, 2, 0));
}

TEST(VerifyDraftsTest, OfEqualSiblingsTheFirstIsAccepted) {
  DraftCase draft = CertainChain();
  draft.token_ids = {2, 1, 1};
  draft.parents = {-1, -1, -1};
  draft.target.push_back(draft.target[1]);
  const DraftResult result = Verify(draft);
  EXPECT_THAT(result.accepted_nodes, ElementsAre(1));
  EXPECT_THAT(result.token_ids, ElementsAre(1, 0));
}

TEST(VerifyDraftsTest, ABadTargetRowFailsTheSequence) {
  for (DraftCase draft : {CertainChain(), AgreeingChain()}) {
    draft.target[1][2] = std::nanf("");
    const DraftResult result = Verify(draft);
    EXPECT_EQ(result.code, RowCode::kNan);
    EXPECT_THAT(result.message, HasSubstr("target row 1: "));
    EXPECT_THAT(result.message, HasSubstr(" of token 2 "));
    EXPECT_THAT(result.accepted_nodes, IsEmpty());
    EXPECT_THAT(result.token_ids, IsEmpty());
  }
}

TEST(VerifyDraftsTest, ABadDraftRowFailsTheSequence) {
  DraftCase draft = AgreeingChain();
  draft.draft[1] = {0, 0, 0};
  const DraftResult result = Verify(draft);
  EXPECT_EQ(result.code, RowCode::kZeroSum);
  EXPECT_EQ(result.message, "draft row 1: every weight is 0: the sum must be above 0");
  EXPECT_THAT(result.token_ids, IsEmpty());
}

TEST(VerifyDraftsTest, RowsBehindARejectionAreNotLookedAt) {
  DraftCase draft = CertainChain();
  draft.token_ids[0] = 0;
  draft.target[1][0] = std::nanf("");
  EXPECT_THAT(Verify(draft).token_ids, ElementsAre(1));
  draft = AgreeingChain();
  draft.target[0] = {1, 0, 0};
  draft.draft[1][0] = -1;
  EXPECT_THAT(Verify(draft).token_ids, ElementsAre(0));
}

TEST(VerifyDraftsTest, ARepairedRowIsNamed) {
  DraftCase draft = CertainChain();
  draft.params.invalid_values = InvalidValuePolicy::kSanitize;
  draft.target[1][0] = std::nanf("");
  draft.target[2][1] = std::nanf("");
  const DraftResult result = Verify(draft);
  EXPECT_EQ(result.code, RowCode::kSanitized);
  EXPECT_THAT(result.message, HasSubstr("target row 1: "));
  EXPECT_THAT(result.token_ids, ElementsAre(1, 2, 0));
}

// Parameters and adjustments apply to the draft's logits as well as to the target's.
TEST(VerifyDraftsTest, AdjustmentsActOnDraftLogits) {
  DraftCase draft;
  draft.target = {{1, 0, -kInfinity}, {5, 5, 0}};
  draft.draft = {{0, 0, 90}};
  draft.token_ids = {0};
  draft.params.top_k = 1;
  draft.bitmasks = {{3, 0, 0, 0}, {4, 0, 0, 0}};
  // Without the mask of the root's row, token 0 would have no probability in the draft's row.
  EXPECT_THAT(Verify(draft).token_ids, ElementsAre(0, 2));
}

TEST(VerifyDraftsTest, DraftWeightsAreTakenAsTheyAre) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{1, 3, 9}, {0, 0, 1}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{1, 1, 2}};
  draft.token_ids = {0};
  draft.params.top_k = 2;
  draft.bitmasks = {{3, 0, 0, 0}, {7, 0, 0, 0}};
  // The token has 1/4 of both. With the mask it would have 1/2 of the draft, and half of the drafts
  // would be rejected.
  for (draft.key.seed = 0; draft.key.seed < 100; ++draft.key.seed) {
    EXPECT_THAT(Verify(draft).token_ids, ElementsAre(0, 2));
  }
}

TEST(ValidateDraftParamsTest, NamesWhatDoesNotFit) {
  const auto message = [](const SamplingParams& params) {
    return std::string(ValidateDraftParams(params, {.profile = "params[1]"}).message());
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.num_samples = 2}),
            "params[1].num_samples must be 1 to verify a draft, got 2");
  const std::string rest =
      " must be unset to verify a draft: its state goes from one token to the next";
  EXPECT_EQ(message({.top_p_decay = TopPDecay()}), "params[1].top_p_decay" + rest);
  EXPECT_EQ(message({.mirostat = Mirostat()}), "params[1].mirostat" + rest);
  EXPECT_EQ(message({.adaptive_p = AdaptiveP()}), "params[1].adaptive_p" + rest);
}

}  // namespace
}  // namespace token_sampler
