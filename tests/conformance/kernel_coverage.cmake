# kernel_paths_test with kernels that count what of them is executed, whatever compiler the rest is
# built by: Clang's object of sample_rows.cu takes the place of the one in the library.
# Defines neither the target nor the test kernels.coverage where a tool is missing.

find_program(TOKEN_SAMPLER_CLANG clang++)
find_program(TOKEN_SAMPLER_LLVM_PROFDATA llvm-profdata)
find_program(TOKEN_SAMPLER_LLVM_COV llvm-cov)
if(NOT TOKEN_SAMPLER_CLANG OR NOT TOKEN_SAMPLER_LLVM_PROFDATA OR NOT TOKEN_SAMPLER_LLVM_COV)
  return()
endif()
execute_process(COMMAND ${TOKEN_SAMPLER_CLANG} -print-runtime-dir
  OUTPUT_VARIABLE runtime_folder OUTPUT_STRIP_TRAILING_WHITESPACE)
set(runtime ${runtime_folder}/libclang_rt.profile-${CMAKE_SYSTEM_PROCESSOR}.a)
if(NOT EXISTS ${runtime})
  return()
endif()

set(kernels ${PROJECT_SOURCE_DIR}/cuda/kernel/sample_rows.cu)
set(counted ${CMAKE_CURRENT_BINARY_DIR}/sample_rows_counted.o)
add_custom_command(OUTPUT ${counted}
  COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${TOKEN_SAMPLER_CLANG} -std=c++20 -O1 -fPIC
    -ffp-contract=off -fprofile-instr-generate -fcoverage-mapping
    -I ${PROJECT_SOURCE_DIR}/tests/simt/include -I ${PROJECT_SOURCE_DIR}
    -MD -MT ${counted} -MF ${counted}.d -x c++ -c ${kernels} -o ${counted}
  DEPENDS ${kernels}
  DEPFILE ${counted}.d
  VERBATIM)
add_executable(kernel_paths_test kernel_paths_test.cc direct_launch.cc ${counted})
target_compile_options(kernel_paths_test PRIVATE
  ${TOKEN_SAMPLER_WARNINGS} ${TOKEN_SAMPLER_TEST_OPTIONS})
target_link_libraries(kernel_paths_test PRIVATE token_sampler_simt_cuda
  token_sampler_conformance GTest::gmock_main ${runtime})
target_link_options(kernel_paths_test PRIVATE -Wl,-u,__llvm_profile_runtime)

add_test(NAME kernels.coverage
  COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tests/lint/check_kernel_coverage.py
    ${PROJECT_SOURCE_DIR} $<TARGET_FILE:kernel_paths_test>
    ${TOKEN_SAMPLER_LLVM_PROFDATA} ${TOKEN_SAMPLER_LLVM_COV})
set_tests_properties(kernels.coverage PROPERTIES LABELS unit)
