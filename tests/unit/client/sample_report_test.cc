// Tests what `sample` prints, and the table that prints it.

#include "client/cli/reports/sample_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/cli/reports/table.h"

namespace token_sampler::client {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::ResultOf;
using ::testing::SizeIs;

float Log(double probability) { return static_cast<float>(std::log(probability)); }

RowResult DrawnRow(uint32_t token_id, uint64_t seed, uint32_t stream) {
  RowResult row;
  row.token_ids = {token_id};
  row.seed = seed;
  row.stream = stream;
  return row;
}

SampleReport TwoRows() {
  SampleReport report;
  report.result.spec_version = 1;
  report.result.rows = {DrawnRow(1, 7, 0), DrawnRow(0, 7, 1)};
  return report;
}

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

TEST(SampleTableTest, ShowsOneLinePerDrawAndWhatMadeIt) {
  EXPECT_EQ(SampleTable(TwoRows(), 120),
            "row  token\n"
            "  0      1\n"
            "  1      0\n"
            "\n"
            "2 rows, seed 7, step 0, stream = row, specification 1\n");
}

TEST(SampleTableTest, ShowsWordsProbabilitiesAndContexts) {
  SampleReport report = TwoRows();
  report.first_row = 10;
  report.words = {"of", "tab\there"};
  report.contexts = {{10, "And the sons"}, {11, "Said he"}};
  report.result.rows[0].logprobs = {Log(0.123456)};
  report.result.rows[0].top_logprobs = {{0, Log(0.5)}, {1, Log(0.123456)}};
  report.result.rows[1].logprobs = {Log(0.5)};
  EXPECT_EQ(SampleTable(report, 120),
            "row       context  token  word        prob  likeliest\n"
            " 10  And the sons      1  tab\\there  12.3%  of 50%, tab\\there 12%\n"
            " 11       Said he      0  of           50%\n"
            "\n"
            "2 rows, seed 7, step 0, stream = row, specification 1\n");
}

TEST(SampleTableTest, FitsTheWidthByCuttingTheLongColumns) {
  SampleReport report = TwoRows();
  report.words = {"of", "été"};
  report.contexts = {{0, std::string(200, 'a') + " the end"}, {1, "short"}};
  report.result.rows[0].logprobs = {Log(0.5)};
  for (int i = 0; i < 50; ++i) report.result.rows[0].top_logprobs.push_back({0, Log(0.5)});
  const std::string table = SampleTable(report, 100);
  EXPECT_THAT(Lines(table), Each(ResultOf(DisplayWidth, ::testing::Le(100u)))) << table;
  EXPECT_THAT(table, HasSubstr("50%, of 5…\n")) << "the likeliest words are cut at their end";
  EXPECT_THAT(table, HasSubstr("…aaa")) << "the context is cut at its start";
  EXPECT_THAT(table, HasSubstr(" the end  ")) << "what comes right before the token stays";
}

TEST(SampleTableTest, ShowsTheSeedsThatTheServerChose) {
  SampleReport report = TwoRows();
  report.result.rows[0].seed = UINT64_MAX;
  report.result.rows[1].stream = 0;
  const std::string table = SampleTable(report, 120);
  EXPECT_THAT(table, HasSubstr("18446744073709551615"));
  EXPECT_THAT(table, HasSubstr("To repeat a row: --rows ROW --seed SEED --stream 0 --step 0"));
}

TEST(SampleTableTest, NumbersSeveralDrawsOfARow) {
  SampleReport report = TwoRows();
  report.result.rows[0].token_ids = {4, 5};
  EXPECT_THAT(SampleTable(report, 120), HasSubstr("row  draw  token\n"
                                                  "  0     0      4\n"
                                                  "        1      5\n"
                                                  "  1     0      0\n"));
}

TEST(SampleTableTest, NamesRowsThatFailed) {
  SampleReport report = TwoRows();
  report.first_row = 4;
  report.result.rows[1] = {};
  report.result.rows[1].code = RowCode::kNan;
  report.result.rows[1].message = "logit of token 5 is NaN";
  report.result.rows[1].seed = 7;
  report.result.rows[1].stream = 1;
  EXPECT_EQ(report.failed_rows(), 1);
  const std::string table = SampleTable(report, 120);
  EXPECT_THAT(table, HasSubstr("  5      -\n"));
  EXPECT_THAT(table, HasSubstr("2 rows, 1 failed, seed 7"));
  EXPECT_THAT(table, HasSubstr("row 5: NAN: logit of token 5 is NaN\n"));
}

TEST(SampleTableTest, ShowsTheStateAsItIsGivenBack) {
  SampleReport report = TwoRows();
  report.result.rows[0].state = {.mirostat_mu = 9.75, .top_p = 0.1};
  EXPECT_THAT(SampleTable(report, 120), HasSubstr("row  token  state\n"
                                                  "  0      1  mirostat_mu=9.75,top_p=0.1\n"
                                                  "  1      0\n"));
  const nlohmann::json json = nlohmann::json::parse(SampleJson(report));
  EXPECT_EQ(json["rows"][0]["state"], nlohmann::json({{"mirostat_mu", 9.75}, {"top_p", 0.1}}));
  EXPECT_FALSE(json["rows"][1].contains("state"));
}

TEST(SampleTableTest, ShowsWhatTheFiltersKept) {
  SampleReport report = TwoRows();
  report.words = {"of", "in"};
  report.result.rows[0].kept_set = {{0, Log(0.75)}, {1, Log(0.25)}};
  report.result.rows[0].max_probability = 0.5;
  report.result.rows[0].min_probability = 0.00012345;
  EXPECT_THAT(SampleTable(report, 120),
              HasSubstr("row  token  word  largest  smallest  kept tokens\n"
                        "  0      1  in        50%   0.0123%  of 75%, in 25%\n"
                        "  1      0  of\n"));
}

TEST(SampleTableTest, WritesACertainTokenInFull) {
  SampleReport report = TwoRows();
  report.result.rows[0].kept_set = {{0, Log(0.9951)}, {1, Log(0.0049)}};
  EXPECT_THAT(SampleTable(report, 120), HasSubstr("0 100%, 1 0.49%"));
}

TEST(SampleTableTest, ShowsHowManyIdsWereSkipped) {
  SampleReport report = TwoRows();
  report.result.rows[0].skipped_ids = 576;
  report.result.rows[1].skipped_ids = 0;
  EXPECT_THAT(SampleTable(report, 120), HasSubstr("row  token  skipped ids\n"
                                                  "  0      1          576\n"
                                                  "  1      0            0\n"));
  const nlohmann::json json = nlohmann::json::parse(SampleJson(report));
  EXPECT_EQ(json["rows"][0]["skipped_ids"], 576);
}

TEST(SampleJsonTest, HoldsTheAgreedFieldsWithExactSeeds) {
  SampleReport report = TwoRows();
  report.result.rows[0].seed = UINT64_MAX;
  report.result.rows[0].step = UINT64_MAX - 1;
  report.result.rows[0].stream = UINT32_MAX;
  const std::string text = SampleJson(report);
  EXPECT_THAT(text, HasSubstr("\"seed\": \"18446744073709551615\""));
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["spec_version"], 1);
  ASSERT_THAT(json["rows"], SizeIs(2));
  EXPECT_EQ(json["rows"][0], nlohmann::json({{"row", 0},
                                             {"status", "OK"},
                                             {"token_ids", {1}},
                                             {"logprobs", nlohmann::json::array()},
                                             {"seed", "18446744073709551615"},
                                             {"step", "18446744073709551614"},
                                             {"stream", UINT32_MAX}}));
}

TEST(SampleJsonTest, AddsWhatIsKnownOfARow) {
  SampleReport report = TwoRows();
  report.first_row = 3;
  report.words = {"of", "not \xff UTF-8"};
  report.contexts = {{3, "And the sons"}};
  report.result.rows[0].logprobs = {-0.5f};
  report.result.rows[0].top_logprobs = {{1, -0.25f}};
  report.result.rows[1] = {};
  report.result.rows[1].code = RowCode::kAllMasked;
  report.result.rows[1].message = "no token is left";
  const nlohmann::json json = nlohmann::json::parse(SampleJson(report));
  const nlohmann::json& drawn = json["rows"][0];
  EXPECT_EQ(drawn["row"], 3);
  EXPECT_EQ(drawn["context"], "And the sons");
  EXPECT_EQ(drawn["logprobs"], nlohmann::json({-0.5}));
  EXPECT_EQ(drawn["top_logprobs"][0], nlohmann::json({{"token_id", 1}, {"logprob", -0.25}}));
  EXPECT_EQ(drawn["words"], nlohmann::json({"not \xef\xbf\xbd UTF-8"}));
  const nlohmann::json& failed = json["rows"][1];
  EXPECT_EQ(failed["status"], "ALL_MASKED");
  EXPECT_EQ(failed["message"], "no token is left");
  EXPECT_EQ(failed["token_ids"], nlohmann::json::array());
  EXPECT_FALSE(failed.contains("context"));
}

TEST(TableTest, CountsCharactersAndEscapesControls) {
  EXPECT_EQ(DisplayWidth("été …"), 5u);
  EXPECT_EQ(Printable("a\nb\x1b[2J été"), "a\\nb\\x1b[2J été");
}

}  // namespace
}  // namespace token_sampler::client
