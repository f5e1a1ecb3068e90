# Flags of every first-party target, and the functions that make such targets.

# These settings hold for this folder and those below; a program that links the libraries gets none of them.
include_directories(${PROJECT_SOURCE_DIR})
# Contraction would fuse a * b + c on some machines and not on others: a different token.
add_compile_options(
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false>)

set(TOKEN_SAMPLER_WARNINGS
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:Clang>>:-Wthread-safety>)
if(TOKEN_SAMPLER_WERROR)
  list(APPEND TOKEN_SAMPLER_WARNINGS
    $<$<COMPILE_LANGUAGE:CXX>:-Werror>
    $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()

if(TOKEN_SAMPLER_SANITIZE)
  add_compile_options(-fsanitize=${TOKEN_SAMPLER_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TOKEN_SAMPLER_SANITIZE})
  # The default linker takes three times as long for as many instrumented programs.
  find_program(TOKEN_SAMPLER_LLD ld.lld)
  if(TOKEN_SAMPLER_LLD)
    add_link_options(-fuse-ld=lld)
  endif()
endif()

# token_sampler_library(name SOURCES ... [HEADERS ...] [HEADERS_BELOW folder] [PUBLIC libs ...]
#                       [PRIVATE libs ...])
# makes the static library token_sampler_<name> with the alias token_sampler::<name>. Includes of its
# headers begin at the folder, or at the root.
function(token_sampler_library name)
  cmake_parse_arguments(ARG "" "HEADERS_BELOW" "SOURCES;HEADERS;PUBLIC;PRIVATE" ${ARGN})
  if(NOT ARG_HEADERS_BELOW)
    set(ARG_HEADERS_BELOW ${PROJECT_SOURCE_DIR})
  endif()
  set(target token_sampler_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(token_sampler::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${ARG_HEADERS_BELOW}
                 FILES ${ARG_HEADERS})
  target_compile_options(${target} PRIVATE ${TOKEN_SAMPLER_WARNINGS})
  if(TOKEN_SAMPLER_FUZZ)
    # Counts which branches are taken, for the fuzz targets.
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# token_sampler_precompile(target [GRPC] [HEADERS ...]) parses these headers once for all sources of
# the target, if TOKEN_SAMPLER_PRECOMPILE says so. GRPC: gRPC's and the API's as well.
function(token_sampler_precompile target)
  cmake_parse_arguments(ARG "GRPC" "" "HEADERS" ${ARGN})
  if(ARG_GRPC)
    list(APPEND ARG_HEADERS <grpcpp/grpcpp.h>
      ${PROJECT_BINARY_DIR}/proto/token_sampler/v1/token_sampler.grpc.pb.h)
  endif()
  if(TOKEN_SAMPLER_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${ARG_HEADERS})
  endif()
endfunction()

# token_sampler_program(name SOURCES ... LIBS ...) makes the executable `name` in bin/.
function(token_sampler_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_compile_options(${name} PRIVATE ${TOKEN_SAMPLER_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
endfunction()
