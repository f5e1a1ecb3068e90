// Tests that without draft rows, verification gives the same tokens as drawing them one after the
// other, and that the tokens of a sequence do not depend on the rest of its call.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "tests/testing/draft_case.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::DraftCase;
using testing::LogitRow;
using testing::SampleRow;
using testing::Verify;
using testing::VerifyAll;

// A random draft with everything to which it points. Most of its tokens are those that the target
// draws at their place, so that paths are long.
class RandomDraft {
 public:
  explicit RandomDraft(uint32_t seed) : random_(seed) {
    vocab_ = 3 + Below(60);
    const size_t nodes = Below(7);
    MakeHistory();
    MakeParams();
    draft_.key = {random_(), OneIn(4) ? UINT64_MAX - 1 : Below(8), Below(3)};
    const bool masked = OneIn(3);
    const bool chain = OneIn(2);
    for (size_t row = 0; row <= nodes; ++row) {
      draft_.target.push_back(MakeLogits());
      if (masked) draft_.bitmasks.push_back(MakeBitmask());
    }
    for (size_t node = 0; node < nodes; ++node) {
      const auto parent = static_cast<int32_t>(chain ? node : Below(node + 1)) - 1;
      if (!chain) draft_.parents.push_back(parent);
      parents_.push_back(parent);
      const std::vector<uint32_t> drawn = Draw(parent);
      draft_.token_ids.push_back(OneIn(4) || drawn.empty() ? Below(vocab_) : drawn[0]);
    }
  }

  RandomDraft(const RandomDraft&) = delete;
  RandomDraft& operator=(const RandomDraft&) = delete;

  DraftCase& draft() { return draft_; }

  // Adds draft rows: those of the target with noise.
  void AddDraftRows() {
    for (const int32_t parent : parents_) {
      std::vector<float> row = draft_.target[static_cast<size_t>(parent + 1)];
      for (float& x : row) x += static_cast<float>(random_() % 64) / 64.0f;
      draft_.draft.push_back(std::move(row));
    }
  }

  // Returns the tokens of one Sample after the other along the tree, and their nodes.
  DraftResult StepByStep() const {
    DraftResult result;
    for (int32_t node = -1; true;) {
      const std::vector<uint32_t> drawn = Draw(node);
      if (drawn.empty()) return {};
      result.token_ids.push_back(drawn[0]);
      int32_t next = 0;
      while (static_cast<size_t>(next) < parents_.size() &&
             (parents_[static_cast<size_t>(next)] != node ||
              draft_.token_ids[static_cast<size_t>(next)] != drawn[0])) {
        ++next;
      }
      if (static_cast<size_t>(next) == parents_.size()) return result;
      node = next;
      result.accepted_nodes.push_back(static_cast<uint32_t>(node));
    }
  }

 private:
  uint32_t Below(size_t bound) { return static_cast<uint32_t>(random_() % bound); }
  bool OneIn(uint32_t n) { return random_() % n == 0; }

  void MakeHistory() {
    for (uint32_t i = Below(12); i > 0; --i) prompt_.push_back(Below(vocab_));
    for (uint32_t i = Below(12); i > 0; --i) output_.push_back(Below(vocab_));
    ordered_ = !OneIn(4);
    if (ordered_) {
      draft_.history = {.prompt_ids = prompt_, .output_ids = output_};
      return;
    }
    for (const uint32_t id : output_) {
      if (std::find(count_ids_.begin(), count_ids_.end(), id) != count_ids_.end()) continue;
      count_ids_.push_back(id);
      counts_.push_back(static_cast<uint32_t>(std::count(output_.begin(), output_.end(), id)));
    }
    draft_.history = {
        .prompt_set = prompt_, .output_count_ids = count_ids_, .output_counts = counts_};
  }

  void MakeParams() {
    SamplingParams& params = draft_.params;
    if (OneIn(2)) params.temperature = OneIn(4) ? 0.0 : 0.25 + 0.25 * Below(6);
    if (OneIn(3)) params.top_k = 1 + Below(vocab_);
    if (OneIn(3)) params.top_p = 0.1 * Below(11);
    if (OneIn(4)) params.min_p = 0.05 * Below(5);
    if (OneIn(4)) params.typical_p = 0.9;
    if (OneIn(4)) params.xtc_probability = 0.5;
    if (OneIn(4)) params.stage_order = kLlamaCppOrder;
    if (OneIn(4)) params.temperature_schedule = {{.begin = 0.1, .end = 2.0, .num_steps = 5}};
    if (OneIn(3)) params.repetition_penalty = 1.5;
    if (OneIn(3)) params.frequency_penalty = 0.7;
    if (OneIn(3)) params.presence_penalty = -0.6;
    if (OneIn(4)) params.min_tokens = Below(10);
    if (OneIn(3)) params.stop_ids = {Below(vocab_)};
    if (OneIn(4)) params.banned_ids = {Below(vocab_)};
    if (!ordered_) return;
    if (OneIn(4)) params.no_repeat_ngram_size = 1 + Below(3);
    if (OneIn(4)) params.bad_words = {{Below(vocab_), Below(vocab_)}};
    if (OneIn(4)) params.dry = {.multiplier = 0.8, .allowed_length = 1};
    if (OneIn(4)) params.penalty_last_n = static_cast<int32_t>(Below(9));
  }

  std::vector<float> MakeLogits() {
    std::vector<float> logits(vocab_);
    for (float& x : logits) x = static_cast<float>(random_() % 512) / 64.0f;
    return logits;
  }

  std::vector<uint8_t> MakeBitmask() {
    std::vector<uint8_t> bitmask((vocab_ + 31) / 32 * 4);
    for (uint8_t& byte : bitmask) byte = static_cast<uint8_t>(random_() | random_());
    return bitmask;
  }

  // Returns the token that Sample draws after `node`; nothing if the row fails.
  std::vector<uint32_t> Draw(int32_t node) const {
    std::vector<uint32_t> path;
    for (int32_t at = node; at >= 0; at = parents_[static_cast<size_t>(at)]) {
      path.insert(path.begin(), draft_.token_ids[static_cast<size_t>(at)]);
    }
    RowKey key = draft_.key;
    key.step += path.size();
    RowInput row = LogitRow(draft_.target[static_cast<size_t>(node + 1)], draft_.params, key);
    RowHistory history = draft_.history;
    std::vector<uint32_t> output = output_;
    std::vector<uint32_t> count_ids = count_ids_;
    std::vector<uint32_t> counts = counts_;
    for (const uint32_t id : path) {
      output.push_back(id);
      const auto found = std::find(count_ids.begin(), count_ids.end(), id);
      if (found != count_ids.end()) {
        ++counts[static_cast<size_t>(found - count_ids.begin())];
      } else {
        count_ids.push_back(id);
        counts.push_back(1);
      }
    }
    if (ordered_) {
      history.output_ids = output;
    } else {
      history.output_count_ids = count_ids;
      history.output_counts = counts;
    }
    row.history = &history;
    if (!draft_.bitmasks.empty())
      row.bitmask = draft_.bitmasks[static_cast<size_t>(node + 1)].data();
    return SampleRow(row).token_ids;
  }

  std::mt19937 random_;
  uint32_t vocab_ = 0;
  std::vector<uint32_t> prompt_;
  std::vector<uint32_t> output_;
  std::vector<uint32_t> count_ids_;
  std::vector<uint32_t> counts_;
  bool ordered_ = true;
  std::vector<int32_t> parents_;
  DraftCase draft_;
};

TEST(VerifyDraftEqualityTest, WithoutDraftRowsTheTokensAreThoseOfStepByStep) {
  const std::unique_ptr<Sampler> cpu = *CreateCpuSampler({.threads = 1});
  size_t accepted = 0;
  size_t failed = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    RandomDraft random(seed);
    const DraftResult expected = random.StepByStep();
    for (Sampler* sampler : {static_cast<Sampler*>(nullptr), cpu.get()}) {
      const DraftResult result = Verify(random.draft(), sampler);
      ASSERT_EQ(result.token_ids, expected.token_ids) << seed << ": " << result.message;
      ASSERT_EQ(result.accepted_nodes, expected.accepted_nodes) << seed;
      ASSERT_EQ(HasTokens(result.code), !expected.token_ids.empty()) << seed;
    }
    accepted += expected.accepted_nodes.size();
    if (expected.token_ids.empty()) ++failed;
  }
  // The paths are not all short, and few cases fail.
  EXPECT_GT(accepted, 3000u);
  EXPECT_LT(failed, 300u);
}

class VerifyDraftCallTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kSequences = 24;

  VerifyDraftCallTest() {
    for (uint32_t i = 0; i < kSequences; ++i) {
      randoms_.push_back(std::make_unique<RandomDraft>(1000 + i));
      if (i % 2 == 0) randoms_.back()->AddDraftRows();
      drafts_.push_back(&randoms_.back()->draft());
    }
    randoms_[5]->draft().target[0][1] = std::nanf("");
    expected_ = VerifyAll(drafts_);
  }

  void ExpectSame(const DraftResult& result, size_t sequence) const {
    EXPECT_EQ(result.code, expected_[sequence].code) << sequence;
    EXPECT_EQ(result.message, expected_[sequence].message) << sequence;
    EXPECT_EQ(result.token_ids, expected_[sequence].token_ids) << sequence;
    EXPECT_EQ(result.accepted_nodes, expected_[sequence].accepted_nodes) << sequence;
  }

  std::vector<std::unique_ptr<RandomDraft>> randoms_;
  std::vector<const DraftCase*> drafts_;
  std::vector<DraftResult> expected_;
};

TEST_F(VerifyDraftCallTest, PermutingSequencesPermutesResults) {
  std::vector<size_t> order(kSequences);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(1);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<const DraftCase*> permuted;
    for (const size_t i : order) permuted.push_back(drafts_[i]);
    const std::vector<DraftResult> results = VerifyAll(permuted);
    for (size_t i = 0; i < kSequences; ++i) ExpectSame(results[i], order[i]);
  }
}

TEST_F(VerifyDraftCallTest, SplittingTheCallChangesNothing) {
  for (size_t i = 0; i < kSequences; ++i) ExpectSame(Verify(*drafts_[i]), i);
}

TEST_F(VerifyDraftCallTest, EverySamplerGivesTheSame) {
  for (const std::string& target : CpuSamplerTargets()) {
    const std::unique_ptr<Sampler> sampler = *CreateCpuSampler({.threads = 2, .target = target});
    const std::vector<DraftResult> results = VerifyAll(drafts_, sampler.get());
    for (size_t i = 0; i < kSequences; ++i) ExpectSame(results[i], i);
  }
}

TEST_F(VerifyDraftCallTest, ABadSequenceFailsAlone) {
  for (size_t i = 0; i < kSequences; ++i) {
    EXPECT_EQ(expected_[i].code, i == 5 ? RowCode::kNan : RowCode::kOk) << i;
    EXPECT_EQ(expected_[i].token_ids.empty(), i == 5) << i;
  }
}

}  // namespace
}  // namespace token_sampler
