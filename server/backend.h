// Chooses the sampler that the server runs. The only file of the server that names backends.

#ifndef TOKEN_SAMPLER_SERVER_BACKEND_H_
#define TOKEN_SAMPLER_SERVER_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"

namespace token_sampler {

struct Backend {
  std::unique_ptr<Sampler> sampler;
  std::string reason;  // why this one, for the log
};

// `device` is auto, cpu or cuda. cuda never falls back: FailedPrecondition or Unimplemented say why
// there is none.
absl::StatusOr<Backend> CreateBackend(const std::string& device);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BACKEND_H_
