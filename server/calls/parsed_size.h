// Measures, from a message's bytes and before anything is allocated, the memory that the parsed
// message will take: two bytes of a message can become hundreds.

#ifndef TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_
#define TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_

#include <google/protobuf/descriptor.h>

#include <cstdint>

#include "absl/status/status.h"
#include "server/calls/sliced_request.h"

namespace token_sampler {

struct ParsedSize {
  uint64_t kept = 0;     // upper bound for the parsed message and the codec's copies of it
  uint64_t data = 0;     // in addition, for the tensor, if ParseWhole parses what ParseSliced could
  uint64_t scratch = 0;  // in addition, during parsing
  // True if CheckFields cannot find anything unknown; false if it may.
  bool all_known = false;
};

struct ParseLimits {
  uint64_t max_rows = 0;   // most entries of fields with one per row, such as params
  uint64_t max_bytes = 0;  // most ParsedSize::kept
};

// Measures a SampleRequest, SampleStreamRequest, VerifyDraftRequest, DescribeRequest or
// ModelInferRequest. Takes time linear in the bytes, except those of tensors, which it skips.
// InvalidArgument if the message would exceed a limit, or is not of this type. OK does not mean
// that protobuf can parse it.
absl::Status MeasureParsed(const google::protobuf::Descriptor& type, const SlicedBytes& message,
                           const ParseLimits& limits, ParsedSize& size);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CALLS_PARSED_SIZE_H_
