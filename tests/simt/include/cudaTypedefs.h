// Declares the part of the CUDA driver API that the project uses, by the names of its entry points.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_CUDATYPEDEFS_H_
#define TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_CUDATYPEDEFS_H_

#include <cstddef>

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
using CUdeviceptr = unsigned long long;
using PFN_cuMemGetAddressRange_v3020 = CUresult (*)(CUdeviceptr* begin, size_t* size,
                                                    CUdeviceptr address);

#endif  // TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_CUDATYPEDEFS_H_
