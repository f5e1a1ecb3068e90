// The report that `sample` prints.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_REPORTS_SAMPLE_REPORT_H_
#define TOKEN_SAMPLER_CLIENT_CLI_REPORTS_SAMPLE_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct SampleReport {
  SampleResult result;
  int64_t first_row = 0;                    // the row of the file that is result.rows[0]
  std::vector<std::string> words;           // of each token, or empty
  std::map<int64_t, std::string> contexts;  // by row of the file, or empty

  int64_t failed_rows() const;
};

// A line per draw, a summary, and a line per row that failed or was repaired.
std::string SampleTable(const SampleReport& report, size_t width);

// Numbers of 64 bits that are not counts are strings, as in proto3's JSON, because most readers
// round them. {"spec_version": .., "rows": [{"row", "status", "token_ids", "logprobs", "seed",
// "step", "stream"}, ..]}; a row also has "message" when it has one, "top_logprobs" ({"token_id",
// "logprob"}) and the other outputs when requested, "state" after stateful stages, "words" and
// "context" when they are known. "logprobs" is empty unless requested.
std::string SampleJson(const SampleReport& report);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_REPORTS_SAMPLE_REPORT_H_
