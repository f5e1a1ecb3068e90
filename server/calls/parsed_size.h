// Measures what a message will take once protobuf has parsed it, by its bytes, before anything is
// allocated: two bytes of a message can become hundreds.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_
#define TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_

#include <google/protobuf/descriptor.h>

#include <cstdint>

#include "absl/status/status.h"
#include "server/calls/sliced_request.h"

namespace token_sampler {

struct ParsedSize {
  uint64_t kept = 0;     // at most: the parsed message, and what the codec copies of it
  uint64_t data = 0;     // besides, when ParseWhole parses what ParseSliced can: of its tensor
  uint64_t scratch = 0;  // besides, while it is parsed
  // True when CheckFields will find nothing that it does not know; false when it may.
  bool all_known = false;
};

struct ParseLimits {
  uint64_t max_rows = 0;   // entries of what has one per row, such as params
  uint64_t max_bytes = 0;  // of ParsedSize::kept
};

// Measures a message of a type that callers send to be sampled: SampleRequest, SampleStreamRequest,
// VerifyDraftRequest, DescribeRequest, ModelInferRequest. Time is linear in the bytes, of which a
// tensor's are passed over. InvalidArgument when it would take more than a limit, or is no such
// message; what is measured may still not be one.
absl::Status MeasureParsed(const google::protobuf::Descriptor& type, const SlicedBytes& message,
                           const ParseLimits& limits, ParsedSize& size);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_
