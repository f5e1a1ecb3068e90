// Variables of the environment that both programs read.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_

#include <string>
#include <vector>

namespace token_sampler {

// A warning for each variable TOKEN_SAMPLER_* that neither program reads: most likely it is
// misspelt. `environment` is as environ: "NAME=VALUE" up to a null pointer. What the project's
// tests read is known too, and what Kubernetes adds for services.
std::vector<std::string> UnknownVariables(const char* const* environment);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_
