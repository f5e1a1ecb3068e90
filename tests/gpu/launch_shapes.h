// What launches of the kernel look like, printed.

#ifndef TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_
#define TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_

#include "absl/status/status.h"

namespace token_sampler::testing {

// The shapes that an H100 or H200 would be given. Needs no device.
void PrintShapes();

// What device 0 is, the shapes that it is given, and of each how many blocks a multiprocessor takes
// and how many clusters, so rows, the device has room for at once.
absl::Status PrintCard();

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_
