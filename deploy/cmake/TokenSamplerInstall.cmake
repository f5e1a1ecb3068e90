# Install rules, and the CMake package `token_sampler` for programs that use the client library.

if(NOT TOKEN_SAMPLER_SERVICE)
  return()
endif()
include(CMakePackageConfigHelpers)

