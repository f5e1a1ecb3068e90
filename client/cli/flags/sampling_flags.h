// The flags that say how rows are sampled and what comes back.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_FLAGS_SAMPLING_FLAGS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_FLAGS_SAMPLING_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/flags/row_flags.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct SamplingFlags {
  SamplingParams params;
  HistoryFlags history;
  std::optional<uint32_t> top_logprobs;  // set: log-probabilities are asked for
  OutputOptions extra_outputs;           // all but log-probabilities

  OutputOptions outputs() const;
};

// The targets must outlive the parsing. AddSamplingFlags adds the flags of parameters, history and
// output; the others add fewer.
void AddSamplingFlags(CLI::App& app, SamplingFlags& flags);
void AddParamsFlags(CLI::App& app, SamplingParams& params);
void AddOutputFlags(CLI::App& app, SamplingFlags& flags);
void AddLogprobsFlag(CLI::App& app, std::optional<uint32_t>& top_logprobs,
                     const std::string& description);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_FLAGS_SAMPLING_FLAGS_H_
