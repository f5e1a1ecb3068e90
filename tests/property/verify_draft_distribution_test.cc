// Tests that the tokens of a verified draft have the target's distribution, whatever they were
// drafted from. Seeds are fixed. A correct verifier exceeds each bound once in 10^6 (quantiles of
// the chi-square and normal distributions), and each test has a twin that must be rejected.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/wide_integer.h"
#include "tests/testing/draft_case.h"
#include "tests/testing/sample_row.h"
#include "tests/testing/statistics.h"

namespace token_sampler {
namespace {

using testing::ChiSquare;
using testing::DraftCase;
using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::Verify;

constexpr uint32_t kVocab = 5;
constexpr int kTrials = 40'000;
constexpr double kCriticalZ = 4.89;  // two-sided normal, 10^-6

using Logits = std::vector<float>;

// The target's logits after each token, and those of the draft, another model. The last entry is
// for the beginning.
const std::vector<Logits> kTarget = {
    {0.3f, 1.1f, -0.7f, 0.2f, -1.2f}, {1.5f, -0.2f, 0.1f, -0.9f, 0.9f},
    {-0.4f, 0.6f, 0.5f, 0.4f, -1.1f}, {0.0f, -0.8f, 1.9f, 0.3f, 0.2f},
    {0.7f, 0.1f, 0.2f, -0.3f, 1.4f},  {0.9f, 0.4f, -0.1f, -1.0f, 0.6f}};
const std::vector<Logits> kDraft = {
    {1.0f, 0.2f, 0.1f, -0.4f, 0.8f}, {0.2f, 0.3f, 0.9f, 0.5f, -1.3f},
    {0.6f, -0.5f, 0.4f, 1.2f, 0.1f}, {-1.7f, 0.9f, 0.8f, 0.1f, 0.4f},
    {0.1f, 1.3f, -0.6f, 0.5f, 0.7f}, {-0.2f, 1.2f, 0.7f, 0.3f, -0.9f}};
constexpr size_t kBeginning = kVocab;

using Probabilities = std::vector<double>;

Probabilities ProbabilitiesOf(const Logits& logits, const SamplingParams& params) {
  Probabilities probabilities(kVocab);
  for (const auto& [id, p] : KeptProbabilities(LogitRow(logits, params))) probabilities[id] = p;
  return probabilities;
}

// Draws a token of `probabilities`, with the random domain that SPEC.md reserves for drafts.
uint32_t DrawDraft(const Probabilities& probabilities, const RowKey& key, uint32_t index) {
  const double uniform = std::ldexp(ToDouble(UniformBits(key, RandomDomain::kDraft, index)), -128);
  uint32_t id = 0;
  for (double sum = probabilities[0]; sum <= uniform && id + 1 < kVocab;) {
    sum += probabilities[++id];
  }
  return id;
}

// The form of draft rows, and how the tokens of a node's children are drawn from them.
struct Scheme {
  const char* name;
  SamplingParams params;
  int siblings;
  bool distinct;  // true: siblings are drawn without replacement
  InputKind draft_kind;
};

void PrintTo(const Scheme& scheme, std::ostream* os) { *os << scheme.name; }

class DraftDistributionTest : public ::testing::TestWithParam<Scheme> {
 protected:
  const Probabilities& Drafted(const Logits& logits) {
    Probabilities& q = drafted_[logits];
    if (q.empty()) q = ProbabilitiesOf(logits, GetParam().params);
    return q;
  }

  // Adds the children of `parent`, whose tokens follow `last`.
  void AddChildren(int32_t parent, size_t last, uint64_t step, DraftCase& draft) {
    Logits logits = kDraft[last];
    for (int i = 0; i < GetParam().siblings; ++i) {
      const Probabilities& q = Drafted(logits);
      const RowKey key = {draft.key.seed, draft.key.step + step, draft.key.stream};
      // Cousins must not share their random numbers.
      const auto index = static_cast<uint32_t>((parent + 1) * GetParam().siblings + i);
      const uint32_t id = DrawDraft(q, key, index);
      draft.token_ids.push_back(id);
      draft.parents.push_back(parent);
      draft.target.push_back(kTarget[id]);
      if (GetParam().draft_kind == InputKind::kWeights) {
        draft.draft.emplace_back(q.begin(), q.end());
      } else {
        draft.draft.push_back(logits);
      }
      if (GetParam().distinct) logits[id] = -std::numeric_limits<float>::infinity();
    }
  }

  // Drafts a tree of two levels, different for each seed.
  DraftCase MakeTree(uint64_t seed) {
    DraftCase draft;
    draft.params = GetParam().params;
    draft.draft_kind = GetParam().draft_kind;
    draft.key = {.seed = seed, .step = 100, .stream = 2};
    draft.target.push_back(kTarget[kBeginning]);
    AddChildren(-1, kBeginning, 0, draft);
    for (int32_t node = 0; node < GetParam().siblings; ++node) {
      AddChildren(node, draft.token_ids[static_cast<size_t>(node)], 1, draft);
    }
    return draft;
  }

  // Returns three tokens: those of the verification, and after them tokens drawn without a draft.
  std::vector<uint32_t> DrawThree(uint64_t seed) {
    const DraftCase draft = MakeTree(seed);
    std::vector<uint32_t> ids = Verify(draft).token_ids;
    while (ids.size() < 3) {
      const RowKey key = {seed, draft.key.step + ids.size(), draft.key.stream};
      ids.push_back(SampleRow(LogitRow(kTarget[ids.back()], draft.params, key)).token_ids[0]);
    }
    return ids;
  }

 private:
  std::map<Logits, Probabilities> drafted_;
};

// Returns the value that a chi-square over the cells with a probability exceeds once in 10^6,
// within 1% (Wilson and Hilferty).
double Critical(const Probabilities& cells) {
  const auto degrees = static_cast<double>(
      std::count_if(cells.begin(), cells.end(), [](double p) { return p > 0; }) - 1);
  const double t = 2 / (9 * degrees);
  return degrees * std::pow(1 - t + 4.7534 * std::sqrt(t), 3);
}

// Returns the probabilities of pairs whose first token has the distribution `first`.
Probabilities PairsBehind(const Probabilities& first, const SamplingParams& params) {
  Probabilities pairs;
  for (uint32_t id = 0; id < kVocab; ++id) {
    for (const double p : ProbabilitiesOf(kTarget[id], params)) pairs.push_back(first[id] * p);
  }
  return pairs;
}

TEST_P(DraftDistributionTest, PairsOfTokensAreTheTargets) {
  std::vector<uint64_t> first_pairs(kVocab * kVocab);
  std::vector<uint64_t> second_pairs(kVocab * kVocab);
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    const std::vector<uint32_t> ids = DrawThree(seed);
    ++first_pairs[ids[0] * kVocab + ids[1]];
    ++second_pairs[ids[1] * kVocab + ids[2]];
  }
  const SamplingParams& params = GetParam().params;
  const Probabilities p = ProbabilitiesOf(kTarget[kBeginning], params);
  const Probabilities expected = PairsBehind(p, params);
  EXPECT_LT(ChiSquare(first_pairs, expected), Critical(expected));
  Probabilities second(kVocab);
  for (size_t pair = 0; pair < expected.size(); ++pair) second[pair % kVocab] += expected[pair];
  const Probabilities second_expected = PairsBehind(second, params);
  EXPECT_LT(ChiSquare(second_pairs, second_expected), Critical(second_expected));

  // The test would detect a tenth of the draft's distribution.
  const Probabilities q = ProbabilitiesOf(kDraft[kBeginning], params);
  Probabilities mixed(kVocab);
  for (size_t id = 0; id < kVocab; ++id) mixed[id] = p[id] > 0 ? 0.9 * p[id] + 0.1 * q[id] : 0;
  EXPECT_GT(ChiSquare(first_pairs, PairsBehind(mixed, params)), Critical(expected));
}

// Leviathan et al. (2023), theorem 3.5: a drafted token is accepted with the probability that both
// distributions share.
TEST_P(DraftDistributionTest, TheFirstSiblingIsAcceptedAsOftenAsTheDistributionsOverlap) {
  const Probabilities p = ProbabilitiesOf(kTarget[kBeginning], GetParam().params);
  const Probabilities q = ProbabilitiesOf(kDraft[kBeginning], GetParam().params);
  double overlap = 0;
  for (size_t id = 0; id < kVocab; ++id) overlap += std::min(p[id], q[id]);
  double accepted = 0;
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    const DraftResult result = Verify(MakeTree(seed));
    if (!result.accepted_nodes.empty() && result.accepted_nodes[0] == 0) ++accepted;
  }
  const auto z = [&](double rate) {
    return (accepted - kTrials * rate) / std::sqrt(kTrials * rate * (1 - rate));
  };
  EXPECT_LT(std::abs(z(overlap)), kCriticalZ);
  EXPECT_GT(std::abs(z(overlap - 0.03)), kCriticalZ);
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, DraftDistributionTest,
    ::testing::Values(
        Scheme{"chain", {}, 1, false, InputKind::kLogits},
        Scheme{"chain_filtered", {.temperature = 0.8, .top_p = 0.9}, 1, false, InputKind::kLogits},
        Scheme{"chain_of_weights", {.temperature = 1.3, .top_k = 4}, 1, false, InputKind::kWeights},
        Scheme{"two_siblings", {.top_k = 4}, 2, false, InputKind::kLogits},
        Scheme{"three_siblings", {}, 3, false, InputKind::kLogits},
        Scheme{"three_distinct_siblings", {.top_k = 4}, 3, true, InputKind::kWeights}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace token_sampler
