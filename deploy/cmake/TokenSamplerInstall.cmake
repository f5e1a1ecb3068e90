# Install rules, and the CMake package `token_sampler` for programs that use the client library:
#   find_package(token_sampler REQUIRED)
#   target_link_libraries(program PRIVATE token_sampler::client)

if(NOT TOKEN_SAMPLER_SERVICE)
  return()
endif()
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/token_sampler)

install(TARGETS token_sampler_proto token_sampler_client
  EXPORT token_sampler
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/token_sampler DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.pb.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/token_sampler ${PROJECT_SOURCE_DIR}/proto/inference
  DESTINATION ${CMAKE_INSTALL_DATADIR}/token_sampler/proto FILES_MATCHING PATTERN "*.proto")
install(TARGETS token-sampler-server token-sampler-client
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)

install(EXPORT token_sampler NAMESPACE token_sampler:: DESTINATION ${package}
  FILE token_sampler-targets.cmake)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/token_sampler-config.cmake.in
  ${PROJECT_BINARY_DIR}/token_sampler-config.cmake INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/token_sampler-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/token_sampler-config.cmake
  ${PROJECT_BINARY_DIR}/token_sampler-config-version.cmake
  DESTINATION ${package})
