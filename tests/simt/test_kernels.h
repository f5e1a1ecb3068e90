// Kernels that use all of the emulated subset, and are launched like the project's own.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_
#define TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_

#include <cuda_runtime.h>

namespace simt_test {

inline constexpr unsigned kThreads = 128;
inline constexpr unsigned kBins = 64;

// Writes the running sums of values[kThreads * blocks], which start again in each block, to
// sums[...].
cudaError_t LaunchScan(const unsigned* values, unsigned* sums, unsigned blocks,
                       cudaStream_t stream);

// Counts values[count] in bins[kBins] by value % kBins, with one cluster.
cudaError_t LaunchHistogram(const unsigned* values, unsigned count, unsigned* bins,
                            unsigned cluster, cudaStream_t stream);

// Writes the odd values of values[kThreads], in order, to odd[], and their number to count.
cudaError_t LaunchKeepOdd(const unsigned* values, unsigned* odd, unsigned* count,
                          cudaStream_t stream);

// Launches a kernel that does nothing, with `shared_bytes` of shared memory. More than 48 KiB must
// be allowed on the device.
cudaError_t AllowShared(unsigned shared_bytes);
cudaError_t LaunchNothing(unsigned shared_bytes, cudaStream_t stream);

// Launches a kernel that waits at a barrier that thread 0 does not reach.
cudaError_t LaunchHang(cudaStream_t stream);

}  // namespace simt_test

#endif  // TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_
