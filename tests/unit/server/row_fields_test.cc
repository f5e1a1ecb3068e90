// Tests the generators and histories of rows: fields that would have no effect are refused, and
// rows that share a seed draw different random numbers.

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "server/codec/request_codec.h"
#include "server/codec/row_codec.h"

namespace token_sampler {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Lt;

const CallContext kContext = {.limits = {.max_rows = 4096, .max_vocab = 1000}};

// Makes a request with the same weights in every row, and with more fields in text format.
v1::SampleRequest Request(uint32_t rows, const std::vector<float>& weights,
                          const std::string& text) {
  v1::SampleRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(rows);
  tensor.set_vocab(static_cast<uint32_t>(weights.size()));
  for (uint32_t row = 0; row < rows; ++row) {
    tensor.mutable_data()->append(reinterpret_cast<const char*>(weights.data()),
                                  weights.size() * sizeof(float));
  }
  return request;
}

// The same with logits.
v1::SampleRequest LogitRequest(uint32_t rows, const std::vector<float>& logits,
                               const std::string& text) {
  v1::SampleRequest request = Request(rows, logits, text);
  request.clear_input_kind();
  return request;
}

v1::SampleResponse Sample(const v1::SampleRequest& request) {
  v1::SampleResponse response;
  DecodedSample decoded;
  const absl::Status status = DecodeSample(request, kContext, decoded);
  EXPECT_TRUE(status.ok()) << status;
  std::vector<RowResult> results(decoded.inputs.size());
  EXPECT_TRUE(CreateReferenceSampler()->Sample(decoded.inputs, absl::MakeSpan(results)).ok());
  EncodeSample(decoded, results, response);
  return response;
}

std::string Refusal(const v1::SampleRequest& request) {
  DecodedSample decoded;
  const absl::Status status = DecodeSample(request, kContext, decoded);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(KeysTest, RowsOfOneSeedDrawIndependently) {
  constexpr uint32_t kRows = 1000;
  const v1::SampleResponse response = Sample(Request(kRows, {1, 2, 5}, "keys { seeds: 42 }"));
  std::array<double, 3> counts = {};
  for (const uint32_t token : response.token_ids()) ++counts.at(token);
  // Within five standard deviations.
  for (const auto& [token, share] : {std::pair(0u, .125), {1u, .25}, {2u, .625}}) {
    EXPECT_NEAR(counts.at(token), kRows * share, 5 * std::sqrt(kRows * share * (1 - share)));
  }
  std::vector<uint32_t> streams(kRows);
  std::iota(streams.begin(), streams.end(), 0u);
  EXPECT_THAT(response.streams(), ::testing::ElementsAreArray(streams));
  // The answer's seeds and streams repeat the draws.
  v1::SampleRequest again = Request(kRows, {1, 2, 5}, "");
  *again.mutable_keys()->mutable_seeds() = response.seeds();
  *again.mutable_keys()->mutable_streams() = response.streams();
  EXPECT_EQ(Sample(again).SerializeAsString(), response.SerializeAsString());
}

TEST(KeysTest, StreamsAreThoseOfTheRowsOnlyWhereOneSeedIsForSeveral) {
  const auto streams = [](uint32_t rows, const std::string& keys) {
    const v1::SampleResponse response = Sample(Request(rows, {1, 1}, "keys { " + keys + " }"));
    return std::vector<uint32_t>(response.streams().begin(), response.streams().end());
  };
  EXPECT_THAT(streams(3, "seeds: 7"), ElementsAre(0, 1, 2));
  EXPECT_THAT(streams(3, "seeds: 7 steps: [4, 5, 6]"), ElementsAre(0, 1, 2));
  EXPECT_THAT(streams(3, "seeds: 7 streams: 0"), ElementsAre(0, 0, 0));
  EXPECT_THAT(streams(3, "seeds: 7 streams: [2, 9, 2]"), ElementsAre(2, 9, 2));
  EXPECT_THAT(streams(3, "seeds: [7, 7, 7]"), ElementsAre(0, 0, 0));
  EXPECT_THAT(streams(3, ""), ElementsAre(0, 0, 0));
  EXPECT_THAT(streams(1, "seeds: 7"), ElementsAre(0));
}

TEST(KeysTest, WithASeedPerRowThePlaceDoesNotMatter) {
  const std::vector<float> flat(100, 1.0f);
  const v1::SampleResponse there = Sample(Request(3, flat, "keys { seeds: [5, 6, 7] }"));
  const v1::SampleResponse back = Sample(Request(3, flat, "keys { seeds: [7, 6, 5] }"));
  EXPECT_THAT(back.token_ids(),
              ElementsAre(there.token_ids(2), there.token_ids(1), there.token_ids(0)));
  EXPECT_THAT(Sample(Request(1, flat, "keys { seeds: 6 }")).token_ids(),
              ElementsAre(there.token_ids(1)));
}

TEST(KeysTest, RandomSeedsFitASignedInteger) {
  const v1::SampleResponse response = Sample(Request(1000, {1}, ""));
  EXPECT_THAT(response.seeds(), Each(Lt(uint64_t{1} << 63)));
  // Each of their 63 bits is set in some seed.
  uint64_t any = 0;
  for (const uint64_t seed : response.seeds()) any |= seed;
  EXPECT_EQ(any, (uint64_t{1} << 63) - 1);
}

// A parameter that reads the history, what it needs, and how to turn it off.
struct Reader {
  const char* name;
  const char* on;
  const char* off;
  bool output_alone;  // true: it does not read the prompt
};

void PrintTo(const Reader& reader, std::ostream* os) { *os << reader.name; }

class HistoryReaderTest : public ::testing::TestWithParam<Reader> {
 protected:
  static v1::SampleRequest At(uint64_t step, const std::string& params, const std::string& rest) {
    return LogitRequest(
        1, {1, 2, 3},
        "params { " + params + " } keys { steps: " + std::to_string(step) + " } " + rest);
  }
};

TEST_P(HistoryReaderTest, IsRefusedByNameWithoutAHistory) {
  const std::string name = GetParam().name;
  EXPECT_EQ(Refusal(At(5, GetParam().on, "")),
            "row 0: params[0]." + name +
                " needs a history at step 5: send prompt_ids and output_ids, empty if there are "
                "none");
  // There is no output before the first step.
  Sample(At(0, GetParam().on, ""));
  Sample(At(5, GetParam().off, ""));
}

TEST_P(HistoryReaderTest, TakesAHistoryThatIsEmpty) {
  for (const char* histories :
       {"histories { }", "histories { output_ids { } }", "histories { output_ids { lengths: 0 } }",
        "histories { prompt_ids { lengths: 1 token_ids: 1 } output_ids { } }"}) {
    EXPECT_THAT(Sample(At(5, GetParam().on, histories)).row_statuses(), IsEmpty()) << histories;
  }
}

TEST_P(HistoryReaderTest, WhatLooksAtTheOutputIsRefusedWithAPromptAlone) {
  const std::string name = GetParam().name;
  for (const char* list : {"prompt_ids", "prompt_set"}) {
    const std::string prompt =
        "histories { " + std::string(list) + " { lengths: 1 token_ids: 1 } }";
    if (GetParam().output_alone) {
      EXPECT_EQ(Refusal(At(5, GetParam().on, prompt)),
                "row 0: params[0]." + name +
                    " needs the output at step 5: send output_ids, empty if there are none");
      Sample(At(0, GetParam().on, prompt));
      Sample(At(5, GetParam().off, prompt));
    } else if (std::string(list) == "prompt_ids") {
      Sample(At(5, GetParam().on, prompt));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, HistoryReaderTest,
    ::testing::Values(
        Reader{"repetition_penalty", "repetition_penalty: 1.5", "repetition_penalty: 1", false},
        Reader{"frequency_penalty", "frequency_penalty: 1", "frequency_penalty: 0", true},
        Reader{"presence_penalty", "presence_penalty: -1", "presence_penalty: 0", true},
        Reader{"no_repeat_ngram_size", "no_repeat_ngram_size: 2", "no_repeat_ngram_size: 0", false},
        Reader{"dry", "dry { multiplier: 1 }", "dry { multiplier: 0 base: 2 }", false},
        Reader{"bad_words", "bad_words { token_ids: 0 } bad_words { token_ids: [0, 1] }",
               "bad_words { token_ids: 0 }", false}),
    [](const auto& tested) { return tested.param.name; });

TEST(HistoryReadersTest, AnEmptyWindowTurnsThemOff) {
  for (const char* params :
       {"repetition_penalty: 2 frequency_penalty: 1 presence_penalty: 1 penalty_last_n: 0",
        "dry { multiplier: 1 last_n: 0 }"}) {
    Sample(LogitRequest(1, {1, 2}, "params { " + std::string(params) + " } keys { steps: 5 }"));
  }
}

TEST(HistoryReadersTest, ARowWithoutItsHistoryFailsAlone) {
  const v1::SampleResponse response =
      Sample(LogitRequest(4, {1, 2},
                          "params { } params { frequency_penalty: 1 } row_params: [1, 0, 1, 1] "
                          "keys { seeds: 1 steps: [0, 3, 3, 4] }"));
  EXPECT_THAT(response.token_counts(), ElementsAre(1, 1, 0, 0));
  ASSERT_EQ(response.row_statuses_size(), 2);
  EXPECT_EQ(response.row_statuses(1).row(), 3u);
  EXPECT_EQ(response.row_statuses(1).code(), v1::ROW_CODE_INVALID_PARAMS);
  EXPECT_EQ(response.row_statuses(1).message(),
            "row 3: params[1].frequency_penalty needs a history at step 4: send prompt_ids and "
            "output_ids, empty if there are none");
}

TEST(IdleParametersTest, WhatNeedsAnotherIsRefusedWithoutIt) {
  const auto refusal = [](const std::string& params) {
    return Refusal(LogitRequest(1, {1, 2, 3}, "params { " + params + " }"));
  };
  EXPECT_EQ(refusal("min_tokens: 4"),
            "params[0].min_tokens needs stop_ids, which it bans, got none");
  EXPECT_EQ(refusal("xtc { threshold: 0.2 }"), "params[0].xtc.probability must be set");
  for (const char* rest :
       {"base: 2", "allowed_length: 3", "last_n: 9", "breakers { token_ids: 1 }"}) {
    EXPECT_EQ(refusal("dry { " + std::string(rest) + " }"), "params[0].dry.multiplier must be set");
  }
}

// Engines send every field, even those that are off.
TEST(IdleParametersTest, DefaultsAndWhatIsTurnedOffAreTaken) {
  for (const char* params :
       {"min_tokens: 0", "min_tokens: 4 stop_ids: 1", "stop_ids: 1", "xtc { }",
        "xtc { threshold: 0.1 }", "xtc { probability: 0 threshold: 0.3 }", "dry { }",
        "dry { base: 1.75 allowed_length: 2 last_n: -1 }",
        "dry { multiplier: 0 base: 3 allowed_length: 4 last_n: 5 breakers { token_ids: 1 } }",
        "top_k_ties: TIE_POLICY_KEEP_ALL", "temperature: 0 greedy_threshold: 0.5",
        "min_tokens_to_keep: 3", "replacement: true", "penalty_last_n: 64"}) {
    const v1::SampleRequest request =
        LogitRequest(1, {1, 2, 3}, "keys { steps: 2 } params { " + std::string(params) + " }");
    EXPECT_THAT(Sample(request).row_statuses(), IsEmpty()) << params;
  }
}

// Penalises token 1, or not, by a history that also has ids which are not tokens of the row.
TEST(UnknownIdsTest, AreSkippedAndCountedWhenThatIsAsked) {
  const std::string lists =
      "prompt_ids { lengths: [3, 0] token_ids: [9, 1, 4294967295] } "
      "output_ids { lengths: [1, 1] token_ids: [3, 1] } ";
  const std::string params =
      "params { temperature: 0 repetition_penalty: 10 frequency_penalty: 3 presence_penalty: 1 "
      "no_repeat_ngram_size: 2 dry { multiplier: 1 allowed_length: 1 } } ";
  const std::vector<float> logits = {1, 2, 0};
  v1::SampleResponse response = Sample(
      LogitRequest(2, logits, params + "histories { " + lists + " skip_unknown_ids: true }"));
  EXPECT_THAT(response.token_ids(), ElementsAre(0, 0));
  EXPECT_THAT(response.skipped_ids(), ElementsAre(3, 0));
  // Without the option the first row fails, and nothing is counted.
  response = Sample(LogitRequest(2, logits, params + "histories { " + lists + " }"));
  EXPECT_THAT(response.token_counts(), ElementsAre(0, 1));
  EXPECT_EQ(response.row_statuses(0).message(),
            "prompt_ids[0] must be below the vocabulary of 3, got 9");
  EXPECT_THAT(response.skipped_ids(), IsEmpty());
}

TEST(UnknownIdsTest, OfSetsAndCountsAreSkippedToo) {
  const v1::SampleResponse response = Sample(LogitRequest(
      1, {1, 2, 0},
      "params { temperature: 0 repetition_penalty: 10 frequency_penalty: 3 } histories { "
      "prompt_set { lengths: 1 token_ids: 7 } "
      "output_counts { lengths: 2 token_ids: [8, 1] counts: [5, 1] } skip_unknown_ids: true }"));
  EXPECT_THAT(response.token_ids(), ElementsAre(0));
  EXPECT_THAT(response.skipped_ids(), ElementsAre(2));
}

}  // namespace
}  // namespace token_sampler
