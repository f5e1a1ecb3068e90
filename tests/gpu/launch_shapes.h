// Prints what launches of the kernel look like.

#ifndef TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_
#define TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_

#include "absl/status/status.h"

namespace token_sampler::testing {

// The shapes that an H100 or H200 would be given. Needs no device.
void PrintShapes();

// Prints what device 0 is, and for each shape that it is given, how many blocks fit on a
// multiprocessor and how many clusters, and so rows, on the device at once.
absl::Status PrintCard();

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_LAUNCH_SHAPES_H_
