// The report that `describe` prints.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DESCRIBE_REPORT_H_
#define TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DESCRIBE_REPORT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

// A line per stage, of at most `width` characters. `words` are the tokens' words, or empty.
std::string DescriptionTable(const Description& description, const std::vector<std::string>& words,
                             size_t width);

std::string DescriptionJson(const Description& description, const std::vector<std::string>& words);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_REPORTS_DESCRIBE_REPORT_H_
