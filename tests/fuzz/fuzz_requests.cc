// Fuzzes requests in pieces with any bytes: they must be parsed into what protobuf makes of the
// whole message, or refused if protobuf refuses it.

#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "tests/testing/sliced_difference.h"

namespace token_sampler {
namespace {

template <typename Request>
void TestOne(const std::string& message, size_t largest, std::mt19937& random) {
  bool parses = false;
  const std::string difference =
      testing::SlicedDifference<Request>(message, largest, random, parses);
  if (difference.empty()) return;
  std::fprintf(stderr, "in pieces of up to %zu bytes it differs in: %s\n", largest,
               difference.c_str());
  std::abort();
}

}  // namespace
}  // namespace token_sampler

// The first byte cuts the others into pieces.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  // Protobuf would log a line for every string that is not UTF-8.
  static const auto* const silence = new google::protobuf::LogSilencer;
  static_cast<void>(silence);
  if (size == 0) return 0;
  const std::string message(bytes + 1, bytes + size);
  const size_t largest = 1 + bytes[0] % 32;
  std::mt19937 random(bytes[0]);
  token_sampler::TestOne<token_sampler::v1::SampleRequest>(message, largest, random);
  token_sampler::TestOne<token_sampler::v1::SampleStreamRequest>(message, largest, random);
  return 0;
}
