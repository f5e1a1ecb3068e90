// Rows that another process holds on the device, by CUDA's IPC handles, as a model server's logits.

#ifndef TOKEN_SAMPLER_TESTS_GPU_IPC_CHECK_H_
#define TOKEN_SAMPLER_TESTS_GPU_IPC_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"

namespace token_sampler::testing {

inline constexpr int kIpcRows = 200;

// The argument with which this program is the other process.
inline constexpr char kIpcOwnerArgument[] = "--ipc-owner";

// Puts the rows on the device, writes their handles to standard output, and keeps them until
// standard input ends. Returns the exit code of the process.
int RunIpcOwner();

// In what the rows of such a process, which it starts, differ from what `cpu` says of them, or
// empty. Under the emulation, where devices are within a process, this one holds the rows itself.
// An error when a CUDA call fails in either process; Unimplemented when the device or the system
// refuses to share memory or events.
absl::StatusOr<std::string> IpcDifference(Sampler& cuda, Sampler& cpu);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_IPC_CHECK_H_
