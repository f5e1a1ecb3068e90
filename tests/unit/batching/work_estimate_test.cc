#include "server/batching/work_estimate.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "sampler/repetition/repetition_index.h"

namespace token_sampler {
namespace {

// A row of 128,256 tokens with the parameters, outputs and history of a test.
struct Row {
  SamplingParams params = {};
  OutputOptions outputs = {};
  RowHistory history = {};
  int64_t vocab = 128'256;

  RowInput input() const {
    RowInput row;
    row.vocab = vocab;
    row.params = &params;
    row.outputs = &outputs;
    row.history = &history;
    return row;
  }
  double microseconds() const { return static_cast<double>(WorkEstimator().OfRow(input())) / 1000; }
};

// Compares with measurements of tests/bench, for the hardest shape of each kind of row. An estimate
// must be between half of the measurement and four times as much.
TEST(WorkEstimateTest, IsNearWhatWasMeasured) {
  const auto expect_near = [](double measured, const Row& row) {
    EXPECT_GT(row.microseconds(), measured / 2);
    EXPECT_LT(row.microseconds(), measured * 4);
  };
  expect_near(57, {});
  Row row;
  row.params.top_p = 0.9;
  expect_near(225, row);
  row = {};
  row.params.eta_cutoff = 1e-3;
  expect_near(785, row);
  row = {};
  row.params.typical_p = 0.9;
  expect_near(1595, row);
  row = {};
  row.outputs.gumbel_softmax = 1.0;
  expect_near(35'000, row);
}

TEST(WorkEstimateTest, GrowsWithWhateverARowAsksMoreOf) {
  const std::vector<uint32_t> ids(1'000'000, 1);
  const std::vector<std::function<void(Row&)>> asks = {
      [](Row& row) { row.vocab *= 2; },
      [](Row& row) { row.params.top_p = 0.9; },
      [](Row& row) { row.params.min_p = 0.1; },
      [](Row& row) { row.params.eta_cutoff = 1e-3; },
      [](Row& row) { row.params.typical_p = 0.9; },
      [](Row& row) { row.params.p_less = true; },
      [](Row& row) { row.params.mirostat = Mirostat(); },
      [](Row& row) { row.params.num_samples = 1000; },
      [](Row& row) { row.params.banned_ids.resize(100'000); },
      [](Row& row) { row.params.allowed_ids.resize(100'000); },
      [](Row& row) { row.params.logit_bias.resize(100'000); },
      [](Row& row) { row.params.bad_words = {std::vector<uint32_t>(100'000)}; },
      [&](Row& row) {
        row.params.repetition_penalty = 1.1;
        row.history.prompt_ids = ids;
      },
      [&](Row& row) {
        row.params.no_repeat_ngram_size = 3;
        row.history.output_ids = ids;
      },
      [&](Row& row) {
        row.params.dry.multiplier = 0.8;
        row.history.prompt_ids = ids;
      },
      [](Row& row) { row.outputs.logprobs = true; },
      [](Row& row) { row.outputs.top_logprobs = 1000; },
      [](Row& row) { row.outputs.ranks = true; },
      [](Row& row) { row.outputs.kept_count = true; },
      [](Row& row) { row.outputs.kept_set = true; },
      [](Row& row) { row.outputs.weights = true; },
      [](Row& row) { row.outputs.entropy = true; },
      [](Row& row) { row.outputs.gumbel_softmax = 0.5; },
  };
  for (size_t i = 0; i < asks.size(); ++i) {
    Row row;
    const double before = row.microseconds();
    asks[i](row);
    EXPECT_GT(row.microseconds(), before) << "ask " << i;
  }
}

TEST(WorkEstimateTest, ALongHistoryCostsNothingIfNothingLooksAtIt) {
  const std::vector<uint32_t> ids(1'000'000, 1);
  Row row;
  const double before = row.microseconds();
  row.history.prompt_ids = ids;
  EXPECT_EQ(row.microseconds(), before);
  row.params.dry.multiplier = 0.8;
  const double all = row.microseconds();
  row.params.dry.last_n = 100;
  EXPECT_LT(row.microseconds(), all / 2);
}

// The estimated work of DRY in a history of these tokens, by a search and by an index.
struct OfDry {
  explicit OfDry(const std::vector<uint32_t>& ids) {
    Row row;
    row.params.dry.multiplier = 0.8;
    row.params.presence_penalty = 1;
    row.history.prompt_ids = ids;
    searched = row.microseconds();
    const RepetitionRules rules(row.params, row.vocab);
    RepetitionIndex index(&rules, nullptr);
    const HistoryIds history(ids, {});
    index.Reserve(ids.size(), history);
    for (size_t i = 0; i < ids.size(); ++i) index.Append(history);
    row.history.index = &index;
    indexed = row.microseconds();
  }

  double searched;
  double indexed;
};

TEST(WorkEstimateTest, AnIndexedHistoryCostsWhatItsEndRepeats) {
  std::vector<uint32_t> ids(100'000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint32_t>(i);
  const OfDry different(ids);
  EXPECT_GT(different.searched, 30'000);
  EXPECT_LT(different.indexed, 200);
  const OfDry same(std::vector<uint32_t>(100'000, 1));
  EXPECT_GT(same.indexed, 10'000);
  EXPECT_LT(same.indexed, same.searched);
}

// Calls that took seconds or more.
TEST(WorkEstimateTest, KnowsWhatTakesLong) {
  constexpr double kSecond = 1e6;
  Row ranks = {.vocab = kMaxVocab};
  ranks.params.num_samples = kMaxVocab - 1;
  ranks.outputs.ranks = true;
  EXPECT_GT(ranks.microseconds(), 3600 * kSecond);

  Row draws = {.vocab = kMaxVocab};
  draws.params.num_samples = kMaxVocab - 1;
  draws.outputs.logprobs = true;
  EXPECT_GT(draws.microseconds(), 5 * kSecond);

  const std::vector<uint32_t> ids(20'000'000, 1);
  Row dry = {.vocab = 32};
  dry.params.dry.multiplier = 0.8;
  dry.history.prompt_ids = ids;
  EXPECT_GT(dry.microseconds(), 3 * kSecond);

  Row described = {.vocab = kMaxVocab};
  EXPECT_GT(WorkEstimator().OfDescription(described.input()), uint64_t{5'000'000'000});
}

TEST(WorkEstimateTest, ARepairIsCountedWhereItIsAskedFor) {
  Row row;
  EXPECT_EQ(WorkEstimator().OfRepairedRow(row.input()), WorkEstimator().OfRow(row.input()));
  row.params.invalid_values = InvalidValuePolicy::kSanitize;
  EXPECT_GT(WorkEstimator().OfRepairedRow(row.input()), uint64_t{20'000'000});
  EXPECT_LT(WorkEstimator().OfRow(row.input()), uint64_t{1'000'000});
}

TEST(WorkEstimateTest, ADraftIsAllOfItsRows) {
  const SamplingParams params;
  const auto of_draft = [&](size_t nodes, bool draft_rows) {
    RowInput row;
    row.vocab = 32'000;
    const std::vector<RowInput> target(nodes + 1, row);
    const std::vector<RowInput> drafted(draft_rows ? nodes : 0, row);
    const std::vector<uint32_t> ids(nodes, 3);
    return WorkEstimator().OfDraft(
        {.target = target, .draft = drafted, .token_ids = ids, .params = &params});
  };
  EXPECT_GT(of_draft(19, false), 9 * of_draft(1, false));
  EXPECT_GT(of_draft(19, true), 2 * of_draft(19, false));
}

TEST(WorkEstimateTest, CountsTheNumbersOfAnAnswer) {
  Row row = {.vocab = 1000};
  row.params.num_samples = 10;
  EXPECT_EQ(MostValues(row.input()), 10);
  row.outputs = {.logprobs = true, .top_logprobs = 5, .ranks = true};
  EXPECT_EQ(MostValues(row.input()), 40);
  row.outputs = {.kept_set = true};
  EXPECT_EQ(MostValues(row.input()), 2010);
  row.params.top_k = 7;
  EXPECT_EQ(MostValues(row.input()), 24);
  row.params.min_tokens_to_keep = 9;
  EXPECT_EQ(MostValues(row.input()), 28);
  row.outputs = {.gumbel_softmax = 1.0};
  EXPECT_EQ(MostValues(row.input()), 10'010);
}

TEST(WorkEstimateTest, IsBounded) {
  Row row = {.vocab = kMaxVocab};
  row.params.num_samples = 1u << 31;
  row.outputs.gumbel_softmax = 1.0;
  EXPECT_EQ(WorkEstimator().OfRow(row.input()), WorkEstimator::kMaxWork);
}

}  // namespace
}  // namespace token_sampler
