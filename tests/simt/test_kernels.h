// Kernels that use all of the emulated subset, launched as the project launches its own.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_
#define TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_

#include <cuda_runtime.h>

namespace simt_test {

inline constexpr unsigned kThreads = 128;
inline constexpr unsigned kBins = 64;

// Running sums of values[kThreads * blocks], begun anew in each block, to sums[...].
cudaError_t LaunchScan(const unsigned* values, unsigned* sums, unsigned blocks,
                       cudaStream_t stream);

// How many of values[count] fall into each of bins[kBins] (value % kBins), by one cluster.
cudaError_t LaunchHistogram(const unsigned* values, unsigned count, unsigned* bins,
                            unsigned cluster, cudaStream_t stream);

// The odd ones of values[kThreads], in order, to odd[]; their number to count.
cudaError_t LaunchKeepOdd(const unsigned* values, unsigned* odd, unsigned* count,
                          cudaStream_t stream);

// Does nothing with `shared_bytes` of shared memory, of which more than 48 KiB must be allowed on
// the device.
cudaError_t AllowShared(unsigned shared_bytes);
cudaError_t LaunchNothing(unsigned shared_bytes, cudaStream_t stream);

// Waits for a barrier that thread 0 does not reach.
cudaError_t LaunchHang(cudaStream_t stream);

}  // namespace simt_test

#endif  // TOKEN_SAMPLER_TESTS_SIMT_TEST_KERNELS_H_
