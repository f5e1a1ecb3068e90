// Rows in shared memory that is pinned, as a model server's logits on the host.

#ifndef TOKEN_SAMPLER_TESTS_GPU_PINNED_CHECK_H_
#define TOKEN_SAMPLER_TESTS_GPU_PINNED_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"

namespace token_sampler::testing {

inline constexpr int kPinnedRows = 200;

// In what rows differ from what `cpu` says of them when they are copied from pinned pages of a
// shared-memory object, one behind the other and in any order, or empty. Behind that the object is
// cut, and the rows are sampled once more: what is drawn then means nothing, but it is no error. An
// error when a CUDA call fails; Unimplemented when the device or the system refuses to pin the
// pages.
absl::StatusOr<std::string> PinnedDifference(Sampler& cuda, Sampler& cpu);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_PINNED_CHECK_H_
