// Reads requests as the service does. Ends the program if that takes more memory than the ledger
// grants or more time than the bytes justify.

#ifndef TOKEN_SAMPLER_TESTS_FUZZ_READING_H_
#define TOKEN_SAMPLER_TESTS_FUZZ_READING_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "absl/status/status.h"
#include "server/calls/parsed_size.h"
#include "server/calls/sliced_request.h"
#include "server/codec/row_codec.h"
#include "server/memory/ledger.h"

namespace token_sampler {

inline double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The ledger and the limits with which requests are read.
struct Reading {
  explicit Reading(uint64_t budget = uint64_t{1} << 30) : ledger(budget) {}

  Ledger ledger;
  CallContext context = {.limits = {.max_rows = 4096, .max_vocab = 1 << 16}, .ledger = &ledger};
  MemoryGrant grant{&ledger, Account::kRequests};
};

// Parses a request like the service, which measures it and asks for memory first. Sets `data` if it
// is parsed in pieces.
template <typename Request>
bool Parse(const std::string& message, Reading& reading, Request& request, SlicedBytes& data) {
  SlicedBytes bytes;
  bytes.Add(message);
  ParsedSize size;
  if (!MeasureParsed(*Request::descriptor(), bytes,
                     {reading.context.limits.max_rows, reading.context.limits.max_parsed_bytes},
                     size)
           .ok() ||
      !reading.grant.Grow(size.kept + size.scratch).ok()) {
    return false;
  }
  if constexpr (requires { ParseSliced(bytes, request, data); }) {
    return ParseSliced(bytes, request, data);
  } else {
    return ParseWhole(bytes, request);
  }
}

// The cost of reading requests.
struct Taken {
  int64_t bytes = 0;     // at a time
  double seconds = 0.0;  // of processor time
};

// Ends the program if a request of `bytes` bytes took more than the ledger has granted plus `free`.
inline void CheckTaken(const char* name, size_t bytes, const Taken& taken, const Ledger& ledger,
                       const Taken& free) {
  const auto granted = static_cast<int64_t>(ledger.peak());
  if (taken.bytes <= granted + free.bytes && taken.seconds <= free.seconds) return;
  std::fprintf(stderr, "%s: %zu bytes take %lld bytes, %lld granted, and %.3f s, at most %.3f\n",
               name, bytes, static_cast<long long>(taken.bytes), static_cast<long long>(granted),
               taken.seconds, free.seconds);
  std::abort();
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_TESTS_FUZZ_READING_H_
