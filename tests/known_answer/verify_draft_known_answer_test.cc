// Tests draft verification on cases with known outcomes: of vLLM and FlashInfer, and by hand from
// the bits of the generator.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/draft_case.h"

namespace token_sampler {
namespace {

using testing::DraftCase;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using testing::Verify;
using testing::VerifyAll;

using Ids = std::vector<uint32_t>;

// Makes a chain with rows of 10 tokens, whose likeliest are `argmax`.
DraftCase GreedyChain(const Ids& drafted, const Ids& argmax) {
  DraftCase draft;
  for (const uint32_t id : argmax) draft.target.emplace_back(10, -1.0f)[id] = 1.0f;
  draft.token_ids = drafted;
  draft.params.temperature = 0;
  return draft;
}

// From vllm-project/vllm, tests/v1/sample/test_rejection_sampler.py: drafted tokens, the target's
// likeliest per position, accepted tokens and the one after them. Each line is a batch.
struct GreedyBatch {
  const char* name;
  std::vector<Ids> drafted;
  std::vector<Ids> argmax;
  std::vector<Ids> expected;
};

void PrintTo(const GreedyBatch& batch, std::ostream* os) { *os << batch.name; }

class VllmGreedyTest : public ::testing::TestWithParam<GreedyBatch> {};

TEST_P(VllmGreedyTest, WithoutDraftRows) {
  std::vector<DraftCase> cases;
  for (size_t i = 0; i < GetParam().drafted.size(); ++i) {
    cases.push_back(GreedyChain(GetParam().drafted[i], GetParam().argmax[i]));
  }
  std::vector<const DraftCase*> drafts;
  for (const DraftCase& draft : cases) drafts.push_back(&draft);
  const std::vector<DraftResult> results = VerifyAll(drafts);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_THAT(results[i].token_ids, ElementsAreArray(GetParam().expected[i]));
    EXPECT_EQ(results[i].accepted_nodes.size() + 1, GetParam().expected[i].size());
  }
}

TEST_P(VllmGreedyTest, DraftRowsChangeNothing) {
  for (size_t i = 0; i < GetParam().drafted.size(); ++i) {
    DraftCase draft = GreedyChain(GetParam().drafted[i], GetParam().argmax[i]);
    draft.draft.assign(draft.token_ids.size(), std::vector<float>(10, 0.0f));
    EXPECT_THAT(Verify(draft).token_ids, ElementsAreArray(GetParam().expected[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Vllm, VllmGreedyTest,
    ::testing::Values(
        GreedyBatch{"perfect", {{1, 2, 3}}, {{1, 2, 3, 4}}, {{1, 2, 3, 4}}},
        GreedyBatch{"early_mismatch", {{1, 2, 3}}, {{1, 5, 3, 4}}, {{1, 5}}},
        GreedyBatch{"several", {{1, 2}, {3}}, {{1, 2, 5}, {3, 4}}, {{1, 2, 5}, {3, 4}}},
        GreedyBatch{"one", {{1}}, {{1, 2}}, {{1, 2}}}, GreedyBatch{"none", {{}}, {{5}}, {{5}}},
        GreedyBatch{"mismatches",
                    {{1, 2, 3}, {4, 5, 6}},
                    {{1, 2, 7, 6}, {4, 8, 6, 9}},
                    {{1, 2, 7}, {4, 8}}},
        GreedyBatch{"mismatch_at_once", {{1}}, {{2, 3}}, {{2}}},
        GreedyBatch{"mixed", {{1, 2}, {3, 4}}, {{1, 5, 6}, {3, 4, 7}}, {{1, 5}, {3, 4, 7}}}),
    [](const auto& tested) { return tested.param.name; });

// From flashinfer-ai/flashinfer, chain_speculative_sampling: position 0 has the ratio 2 and accepts
// with any random number; position 1 has the ratio 0 and rejects; all of the residual is on token
// 0.
TEST(FlashInferChainTest, AcceptsOneWhateverTheGenerator) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{0, .1f, .6f, .3f}, {1, 0, 0, 0}, {.7f, .1f, .1f, .1f}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{.1f, .2f, .3f, .4f}, {.2f, .3f, .4f, .1f}};
  draft.token_ids = {2, 1};
  for (draft.key.seed = 0; draft.key.seed < 1000; ++draft.key.seed) {
    const DraftResult result = Verify(draft);
    EXPECT_THAT(result.token_ids, ElementsAre(2, 0));
    EXPECT_THAT(result.accepted_nodes, ElementsAre(0));
  }
}

// The decisions follow from the leading bits of the random words that SPEC.md names.
uint64_t LeadingBits(const RowKey& key, RandomDomain domain, uint32_t index) {
  return static_cast<uint64_t>(UniformBits(key, domain, index) >> 64);
}
bool LowerHalf(const RowKey& key, RandomDomain domain, uint32_t index) {
  return LeadingBits(key, domain, index) >> 63 == 0;
}

TEST(DecisionTest, AcceptsWithTheRatioOfTheProbabilities) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{1, 1}, {0, 1}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{3, 1}};
  draft.token_ids = {0};
  draft.key = {.step = 9, .stream = 4};
  for (draft.key.seed = 0; draft.key.seed < 1000; ++draft.key.seed) {
    // 1/2 against 3/4: accepted with probability two thirds.
    if (LeadingBits(draft.key, RandomDomain::kDraftAccept, 0) < 0xaaaaaaaaaaaaaaaau) {
      EXPECT_THAT(Verify(draft).token_ids, ElementsAre(0, 1));
    } else {
      EXPECT_THAT(Verify(draft).token_ids, ElementsAre(1));
    }
  }
}

TEST(DecisionTest, ARejectionDrawsFromTheResidual) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{2, 1, 1}, {1, 0, 0}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{1, 0, 0}};
  draft.token_ids = {0};
  for (draft.key.seed = 0; draft.key.seed < 1000; ++draft.key.seed) {
    if (LowerHalf(draft.key, RandomDomain::kDraftAccept, 0)) {
      EXPECT_THAT(Verify(draft).token_ids, ElementsAre(0, 0));
    } else {
      const bool lower = LowerHalf(draft.key, RandomDomain::kDraftResidual, 0);
      EXPECT_THAT(Verify(draft).token_ids, ElementsAre(lower ? 1 : 2));
    }
  }
}

TEST(DecisionTest, SiblingsAreTriedOneAfterTheOtherOnWhatIsLeft) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{2, 1, 1}, {0, 0, 1}, {0, 0, 1}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{1, 0, 0}, {0, 1, 0}};
  draft.token_ids = {0, 1};
  draft.parents = {-1, -1};
  for (draft.key.seed = 0; draft.key.seed < 1000; ++draft.key.seed) {
    const DraftResult result = Verify(draft);
    if (LowerHalf(draft.key, RandomDomain::kDraftAccept, 0)) {
      EXPECT_THAT(result.token_ids, ElementsAre(0, 2));
      EXPECT_THAT(result.accepted_nodes, ElementsAre(0));
    } else if (LowerHalf(draft.key, RandomDomain::kDraftAccept, 1)) {
      EXPECT_THAT(result.token_ids, ElementsAre(1, 2));
      EXPECT_THAT(result.accepted_nodes, ElementsAre(1));
    } else {
      EXPECT_THAT(result.token_ids, ElementsAre(2));
      EXPECT_THAT(result.accepted_nodes, IsEmpty());
    }
  }
}

// After token 0, a billionth is left of token 1, and the second draft has as much of it.
TEST(DecisionTest, TheResidualKeepsUnlikelyTokens) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{1, 0x1p-30f, 1}, {0, 0, 1}, {0, 0, 1}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{1, 0, 0}, {0, 0x1p-30f, 1}};
  draft.token_ids = {0, 1};
  draft.parents = {-1, -1};
  for (draft.key.seed = 0; draft.key.seed < 100; ++draft.key.seed) {
    EXPECT_EQ(Verify(draft).token_ids.size(), 2u);
  }
}

TEST(DecisionTest, ATokenThatItsOwnRowRulesOutIsPassedOver) {
  DraftCase draft;
  draft.kind = InputKind::kWeights;
  draft.target = {{1, 1}, {1, 1}};
  draft.draft_kind = InputKind::kWeights;
  draft.draft = {{0, 1}};
  draft.token_ids = {0};
  for (draft.key.seed = 0; draft.key.seed < 1000; ++draft.key.seed) {
    const bool lower = LowerHalf(draft.key, RandomDomain::kDraftResidual, 0);
    EXPECT_THAT(Verify(draft).token_ids, ElementsAre(lower ? 0 : 1));
  }
}

}  // namespace
}  // namespace token_sampler
