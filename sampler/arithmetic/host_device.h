// Marks arithmetic that the CPU and the GPU must compute identically. A header with these functions
// compiles as host code and as CUDA device code; SPEC.md is what they implement.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_

#if defined(__CUDACC__)
#define TOKEN_SAMPLER_HOST_DEVICE __host__ __device__
#else
#define TOKEN_SAMPLER_HOST_DEVICE
#endif

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_
