// Checks the environment variables that both programs read.

#ifndef TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_
#define TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_

#include <string>
#include <vector>

namespace token_sampler {

// A warning for each variable TOKEN_SAMPLER_* that neither program reads: it is most likely
// misspelt. `environment` has the form of environ: "NAME=VALUE" strings, ended by a null pointer.
// Variables of the project's tests, and those that Kubernetes adds for services, are known too.
std::vector<std::string> UnknownVariables(const char* const* environment);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_CLIENT_USAGE_ENVIRONMENT_H_
