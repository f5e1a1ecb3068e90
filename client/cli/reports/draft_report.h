// The report that `verify` prints.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DRAFT_REPORT_H_
#define TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DRAFT_REPORT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct DraftReport {
  std::vector<DraftSequence> sequences;  // what was drafted
  VerifyDraftResult result;              // for each of `sequences`
  std::vector<std::string> words;        // of each token, or empty

  size_t failed_sequences() const;
};

// A line per sequence, and one more per sequence that failed or was repaired.
std::string DraftTable(const DraftReport& report, size_t width);

// The seed is a string, as in proto3's JSON, because most readers round numbers of 64 bits.
// {"spec_version": .., "sequences": [{"sequence", "status", "drafted", "accepted", "token_ids",
// "seed"}, ..]}; also "accepted_nodes" for trees, and "message" and "words" if there are any.
std::string DraftJson(const DraftReport& report);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DRAFT_REPORT_H_
