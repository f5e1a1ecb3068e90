// Tests that if the answer says that a draw among candidates is exact, the token is that of the
// whole row.

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "sampler/arithmetic/token_order.h"
#include "sampler/reference/reference_sampler.h"
#include "server/codec/candidates_codec.h"
#include "server/codec/request_codec.h"

namespace token_sampler {
namespace {

const CallContext kContext = {.limits = {.max_rows = 64, .max_vocab = 1u << 20}};

v1::SampleResponse Sample(const v1::SampleRequest& request, absl::Status& status) {
  static Sampler& sampler = *CreateReferenceSampler().release();
  DecodedSample decoded;
  v1::SampleResponse response;
  status = DecodeSample(request, kContext, decoded);
  if (!status.ok()) return response;
  std::vector<RowResult> results(decoded.inputs.size());
  EXPECT_TRUE(sampler.Sample(decoded.inputs, absl::MakeSpan(results)).ok());
  FinishCandidates(decoded.candidates, absl::MakeSpan(results));
  EncodeSample(decoded, results, response);
  return response;
}

// The facts that a request states about tokens that are not candidates.
enum class Known { kNothing, kLogSumExp, kCount };

v1::SampleRequest Candidates(const std::vector<float>& row, size_t count, Known known,
                             const v1::SamplingParams& params, uint64_t seed) {
  std::vector<uint32_t> order(row.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return OrderKey(row[a] + 0.0f, a) > OrderKey(row[b] + 0.0f, b);
  });
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(1);
  tensor.set_vocab(static_cast<uint32_t>(row.size()));
  v1::Candidates& candidates = *tensor.mutable_candidates();
  candidates.add_lengths(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) {
    candidates.add_token_ids(order[i]);
    candidates.mutable_values()->append(reinterpret_cast<const char*>(&row[order[i]]),
                                        sizeof(float));
  }
  double rest = 0.0;
  uint32_t drawable = 0;
  for (size_t i = count; i < order.size(); ++i) {
    rest += std::exp(static_cast<double>(row[order[i]]));
    drawable += std::isfinite(row[order[i]]) ? 1 : 0;
  }
  if (known == Known::kLogSumExp) candidates.add_rest_log_sum_exp(std::log(rest));
  if (known == Known::kCount) candidates.add_rest_counts(drawable);
  *request.add_params() = params;
  request.mutable_keys()->add_seeds(seed);
  return request;
}

v1::SampleRequest Dense(const std::vector<float>& row, const v1::SampleRequest& like) {
  v1::SampleRequest request = like;
  request.mutable_tensor()->set_data(row.data(), row.size() * sizeof(float));
  return request;
}

bool Exact(const v1::SampleResponse& response) { return response.row_statuses_size() == 0; }

struct Tally {
  int exact = 0;
  int all = 0;
};

// Compares a draw with that of the whole row, and counts how often it is said to be exact.
void Compare(const std::vector<float>& row, size_t count, Known known,
             const v1::SamplingParams& params, uint64_t seed, Tally& tally) {
  const v1::SampleRequest request = Candidates(row, count, known, params, seed);
  absl::Status status;
  const v1::SampleResponse some = Sample(request, status);
  ASSERT_TRUE(status.ok()) << status;
  const v1::SampleResponse dense = Sample(Dense(row, request), status);
  ASSERT_TRUE(status.ok()) << status;
  ++tally.all;
  if (!Exact(some)) {
    EXPECT_EQ(some.row_statuses(0).code(), v1::ROW_CODE_APPROXIMATE);
    return;
  }
  ++tally.exact;
  EXPECT_THAT(some.token_ids(), ::testing::ElementsAreArray(dense.token_ids()))
      << params.ShortDebugString() << " candidates " << count << " of " << row.size();
}

v1::SamplingParams Params(const std::string& text) {
  v1::SamplingParams params;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &params)) << text;
  return params;
}

// Values are quantised, so that equal ones are common, also at the k-th token.
std::vector<float> RandomRow(std::mt19937& random, size_t vocab, float scale, float grid) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> row(vocab);
  for (float& value : row)
    value = grid > 0 ? std::round(normal(random) / grid) * grid : normal(random);
  if (random() % 3 == 0) row[random() % vocab] = -std::numeric_limits<float>::infinity();
  return row;
}

TEST(CandidatesTest, ExactMeansTheTokensOfTheDenseRow) {
  std::mt19937 random(20261123);
  const std::vector<v1::SamplingParams> all = {
      Params("top_k: 5"),
      Params("top_k: 16"),
      Params("top_k: 17"),
      Params("temperature: 0"),
      Params("top_k: 4 temperature: 0 num_samples: 3"),
      Params("temperature: 0 num_samples: 3"),
      Params("top_p: 0.5"),
      Params("top_p: 0.9 temperature: 0.5"),
      Params("top_p: 0.3 temperature: 1.5"),
      Params("top_p: 0.8 min_p: 0.01"),
      Params("min_p: 0.1"),
      Params("top_k: 12 top_p: 0.9 typical_p: 0.9"),
      Params("top_p: 0.7 stage_preset: STAGE_PRESET_HF"),
      Params("top_p: 0.7 top_k: 9 stage_preset: STAGE_PRESET_SGLANG"),
      Params("top_p: 0.7 stage_preset: STAGE_PRESET_SGLANG"),
      Params("top_p: 0.6 stage_preset: STAGE_PRESET_LLAMA_CPP temperature: 0.7"),
      Params("top_k: 8 xtc { probability: 1 threshold: 0.05 }"),
      Params("top_k: 8 num_samples: 4"),
      Params("typical_p: 0.5"),
      Params("top_p: 0.4 min_tokens_to_keep: 3"),
      Params("top_k: 6 mirostat { version: 1 tau: 2 }"),
      Params("top_k: 6 mirostat { version: 2 tau: 2 }"),
      Params("dynamic_temperature { range: 0.5 } top_k: 3"),
      Params(""),
  };
  Tally tally;
  for (int round = 0; round < 40; ++round) {
    for (const v1::SamplingParams& params : all) {
      for (const Known known : {Known::kNothing, Known::kLogSumExp, Known::kCount}) {
        const float scale = round % 2 == 0 ? 3.0f : 8.0f;
        const float grid = round % 4 == 1 ? 0.5f : 0.0f;
        const std::vector<float> row = RandomRow(random, 60 + random() % 300, scale, grid);
        Compare(row, 16 + random() % 2, known, params, random(), tally);
      }
    }
  }
  EXPECT_GT(tally.exact, tally.all / 3);
  EXPECT_LT(tally.exact, tally.all);
}

// Callers rely on this: with usual settings, draws from rows like those of language models are
// exact.
TEST(CandidatesTest, UsualSettingsAreExact) {
  std::mt19937 random(5);
  for (const char* text : {"top_k: 50", "top_k: 50 top_p: 0.9 temperature: 0.8", "min_p: 0.1",
                           "temperature: 0", "top_p: 0.5"}) {
    Tally tally;
    for (int round = 0; round < 20; ++round) {
      const std::vector<float> row = RandomRow(random, 2000, 4.0f, 0.0f);
      Compare(row, 64, Known::kLogSumExp, Params(text), random(), tally);
    }
    EXPECT_GE(tally.exact, 19) << text;
  }
}

// Uses the rows of the examples' language model, float16 in a .npy file.
TEST(CandidatesTest, ExactOnRealRows) {
  std::ifstream file(TOKEN_SAMPLER_TEST_DATA "/kjv_trigram_logits_f16.npy", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  constexpr size_t kVocab = 13795;
  ASSERT_GT(bytes.size(), kVocab * 2);
  const size_t rows = (bytes.size() - 64) / (kVocab * 2);
  const size_t header = bytes.size() - rows * kVocab * 2;
  Tally tally;
  for (size_t r = 0; r < std::min<size_t>(rows, 16); ++r) {
    std::vector<float> row(kVocab);
    for (size_t i = 0; i < kVocab; ++i) {
      uint16_t half = 0;
      std::memcpy(&half, bytes.data() + header + (r * kVocab + i) * 2, 2);
      row[i] = LoadAsFloat(&half, DataType::kFloat16, 0);
    }
    for (const char* text : {"top_k: 40 top_p: 0.95", "top_p: 0.6", "min_p: 0.05 temperature: 0.7",
                             "temperature: 0"}) {
      for (uint64_t seed = 0; seed < 4; ++seed) {
        Compare(row, 256, Known::kLogSumExp, Params(text), seed, tally);
      }
    }
  }
  EXPECT_GT(tally.exact, tally.all / 2);
}

TEST(CandidatesTest, RejectFailsTheRowsThatAreNotDecided) {
  v1::SampleRequest request =
      Candidates({3.0f, 2.0f, 1.0f, 0.0f}, 2, Known::kNothing, Params(""), 1);
  absl::Status status;
  EXPECT_EQ(Sample(request, status).row_statuses(0).code(), v1::ROW_CODE_APPROXIMATE);
  request.mutable_tensor()->mutable_candidates()->set_inexact(v1::INEXACT_POLICY_REJECT);
  const v1::SampleResponse response = Sample(request, status);
  EXPECT_EQ(response.token_counts(0), 0u);
  EXPECT_EQ(response.row_statuses(0).code(), v1::ROW_CODE_INEXACT);
  request.mutable_params(0)->set_top_k(1);
  EXPECT_TRUE(Exact(Sample(request, status)));
}

TEST(CandidatesTest, ATieWithTheLeastCandidateIsNotDecided) {
  v1::SampleRequest request =
      Candidates({3.0f, 2.0f, 2.0f, 0.0f}, 2, Known::kNothing, Params("top_k: 2"), 1);
  absl::Status status;
  EXPECT_FALSE(Exact(Sample(request, status)));
}

TEST(CandidatesTest, OutputsHaveRealIds) {
  std::vector<float> row(100, -5.0f);
  row[70] = 9.0f;
  row[30] = 8.0f;
  row[90] = 7.0f;
  v1::SampleRequest request = Candidates(row, 3, Known::kNothing, Params("top_k: 2"), 3);
  request.mutable_outputs()->set_top_logprobs(2);
  request.mutable_outputs()->set_logprob_mode(v1::LOGPROB_MODE_PROCESSED);
  request.mutable_outputs()->set_kept_set(true);
  absl::Status status;
  const v1::SampleResponse response = Sample(request, status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(response.details(0).top_token_ids(), ::testing::ElementsAre(70, 30));
  EXPECT_THAT(response.kept_sets().token_ids(), ::testing::ElementsAre(30, 70));
}

struct Refusal {
  const char* name;
  const char* change;  // merged into a good request
  const char* message;
};

class CandidateRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(CandidateRefusalTest, NamesWhatIsWrong) {
  v1::SampleRequest request =
      Candidates({3.0f, 2.0f, 1.0f, 0.0f}, 2, Known::kNothing, Params(""), 1);
  v1::SampleRequest change;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().change, &change));
  request.MergeFrom(change);
  absl::Status status;
  Sample(request, status);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, CandidateRefusalTest,
    ::testing::Values(
        Refusal{"lengths", "tensor { candidates { lengths: 1 } }",
                "tensor.candidates.lengths must have one entry per row (1), got 2"},
        Refusal{"rows", "tensor { rows: 2 }",
                "tensor.candidates.lengths must have one entry per row (2), got 1"},
        Refusal{"ids", "tensor { candidates { token_ids: 3 } }",
                "tensor.candidates.token_ids must have as many entries as lengths sum up to, 2, "
                "got 3"},
        Refusal{"vocab", "tensor { vocab: 1 }",
                "tensor.candidates.lengths[0] must be in [1, 1], got 2"},
        Refusal{"values", "tensor { candidates { values: 'abc' } }",
                "tensor.candidates.values must have 8 bytes for 2 values of FLOAT32, got 3"},
        Refusal{"nan", "tensor { candidates { rest_log_sum_exp: nan } }",
                "tensor.candidates.rest_log_sum_exp[0] must be finite or -infinity, got nan"},
        Refusal{"infinite", "tensor { candidates { rest_log_sum_exp: inf } }",
                "tensor.candidates.rest_log_sum_exp[0] must be finite or -infinity, got inf"},
        Refusal{"rest_entries", "tensor { candidates { rest_counts: [1, 1] } }",
                "tensor.candidates.rest_counts must have one entry per row (1) or none, got 2"},
        Refusal{"rest_count", "tensor { candidates { rest_counts: 3 } }",
                "tensor.candidates.rest_counts[0] must be at most 2, the tokens that are no "
                "candidates, got 3"},
        Refusal{"weights",
                "input_kind: INPUT_KIND_WEIGHTS tensor { candidates { "
                "rest_log_sum_exp: 1 } }",
                "tensor.candidates.rest_log_sum_exp is for logits, not for weights"},
        Refusal{"bias", "params { logit_bias { token_ids: 0 values: 1 } } row_params: 1",
                "params[1]: ids, penalties, logit_bias, n-grams, dry and top_p_decay must not be "
                "set with tensor.candidates: adjust the logits before the candidates are chosen"},
        Refusal{"history", "histories { }",
                "histories must not be set with tensor.candidates: adjust the logits before the "
                "candidates are chosen"},
        Refusal{"bitmask", "bitmask { words: 'abcd' }",
                "bitmask must not be set with tensor.candidates: adjust the logits before the "
                "candidates are chosen"},
        Refusal{"raw", "outputs { logprobs: true }",
                "outputs.logprob_mode must be PROCESSED with tensor.candidates: the row as "
                "received is not there"},
        Refusal{"gumbel", "outputs { gumbel_softmax: 1 }",
                "outputs.gumbel_softmax must not be set with tensor.candidates: it has an entry "
                "for every token"},
        Refusal{"top", "outputs { top_logprobs: 3 logprob_mode: LOGPROB_MODE_PROCESSED }",
                "outputs.top_logprobs must be at most the 2 candidates of a row, got 3"}),
    [](const auto& tested) { return tested.param.name; });

TEST(CandidatesTest, IdsAreInRangeAndNotTwice) {
  v1::SampleRequest request =
      Candidates({3.0f, 2.0f, 1.0f, 0.0f}, 2, Known::kNothing, Params(""), 1);
  absl::Status status;
  v1::Candidates& candidates = *request.mutable_tensor()->mutable_candidates();
  candidates.set_token_ids(1, 0);
  Sample(request, status);
  EXPECT_EQ(status.message(), "tensor.candidates.token_ids of row 0 must not hold token 0 twice");
  candidates.set_token_ids(1, 4);
  Sample(request, status);
  EXPECT_EQ(status.message(), "tensor.candidates.token_ids[1] must be below vocab, 4, got 4");
}

}  // namespace
}  // namespace token_sampler
