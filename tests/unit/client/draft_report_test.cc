// Tests what `verify` prints.

#include "client/cli/reports/draft_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace token_sampler::client {
namespace {

// Makes a report of a chain with one accepted token, and of a tree that failed.
DraftReport TwoSequences() {
  DraftReport report;
  report.sequences = {{.token_ids = {3, 1}}, {.token_ids = {2, 2}, .parents = {-1, -1}}};
  report.result.spec_version = 1;
  DraftResult drawn;
  drawn.accepted = 1;
  drawn.token_ids = {3, 0};
  drawn.seed = 7;
  drawn.stream = 5;
  DraftResult failed;
  failed.code = RowCode::kNan;
  failed.message = "row 1 of target: logit of token 5 is NaN";
  failed.seed = UINT64_MAX;
  report.result.sequences = {drawn, failed};
  return report;
}

TEST(DraftTableTest, ShowsALinePerSequenceAndWhyOneFailed) {
  EXPECT_EQ(DraftTable(TwoSequences(), 120),
            "sequence  drafted  accepted  tokens                  seed  stream\n"
            "       0  3 1             1  3 0                        7       5\n"
            "       1  2 2             -          18446744073709551615       0\n"
            "sequence 1: NAN: row 1 of target: logit of token 5 is NaN\n");
  EXPECT_EQ(TwoSequences().failed_sequences(), 1u);
}

TEST(DraftTableTest, ShowsWords) {
  DraftReport report = TwoSequences();
  report.words = {"and", "the", "of", "a\tb"};
  EXPECT_THAT(DraftTable(report, 120), ::testing::HasSubstr("3 0     a\\tb and  "));
}

TEST(DraftTableTest, ShowsHowManyIdsWereSkipped) {
  DraftReport report = TwoSequences();
  report.result.sequences[0].skipped_ids = 4;
  EXPECT_THAT(DraftTable(report, 120), ::testing::HasSubstr("stream  skipped ids\n"));
  EXPECT_THAT(DraftTable(report, 120), ::testing::HasSubstr("     5            4\n"));
  EXPECT_EQ(nlohmann::json::parse(DraftJson(report))["sequences"][0]["skipped_ids"], 4);
}

TEST(DraftJsonTest, HoldsTheAgreedFields) {
  DraftReport report = TwoSequences();
  report.result.sequences[1] = report.result.sequences[0];
  report.result.sequences[1].accepted_nodes = {1};
  const nlohmann::json json = nlohmann::json::parse(DraftJson(report));
  EXPECT_EQ(json["spec_version"], 1);
  EXPECT_EQ(json["sequences"][0], nlohmann::json({{"sequence", 0},
                                                  {"status", "OK"},
                                                  {"drafted", {3, 1}},
                                                  {"accepted", 1},
                                                  {"token_ids", {3, 0}},
                                                  {"seed", "7"},
                                                  {"stream", 5}}));
  EXPECT_EQ(json["sequences"][1]["accepted_nodes"], nlohmann::json({1}));
}

}  // namespace
}  // namespace token_sampler::client
