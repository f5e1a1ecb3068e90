// main() of tests that run a gRPC server in their own process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const int result = RUN_ALL_TESTS();
#if defined(__SANITIZE_ADDRESS__)
  __lsan_do_leak_check();
#endif
  // gRPC 1.51 may still be closing a server's connections on its own threads. It sometimes aborts
  // (ref_counted.h, "prior > 0") when its static objects are destroyed meanwhile.
  std::fflush(nullptr);
  std::_Exit(result);
}
