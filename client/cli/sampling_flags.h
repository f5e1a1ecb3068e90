// The flags that say how rows are sampled and what comes back.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_SAMPLING_FLAGS_H_
#define TOKEN_SAMPLER_CLIENT_CLI_SAMPLING_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

#include "client/sampler_client.h"

namespace token_sampler::client {

struct SamplingFlags {
  SamplingParams params;
  History history;                       // of every row
  std::optional<uint32_t> top_logprobs;  // set: log-probabilities are asked for
  OutputOptions extra_outputs;           // all but log-probabilities

  OutputOptions outputs() const;
};

// What they set must outlive the parsing.
void AddSamplingFlags(CLI::App& app, SamplingFlags& flags);
// Those of the parameters alone.
void AddParamsFlags(CLI::App& app, SamplingParams& params);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_SAMPLING_FLAGS_H_
