// Marks arithmetic that the CPU and the GPU must compute identically. Headers with such functions
// compile as host code and as CUDA device code. The functions implement SPEC.md.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_

#if defined(__CUDACC__)
#define TOKEN_SAMPLER_HOST_DEVICE __host__ __device__
#else
#define TOKEN_SAMPLER_HOST_DEVICE
#endif

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_HOST_DEVICE_H_
