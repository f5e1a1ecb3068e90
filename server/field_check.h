// Refuses what a request holds but this server would ignore: field numbers and enum values from a
// newer contract, and fields of this contract that are not implemented yet.

#ifndef TOKEN_SAMPLER_SERVER_FIELD_CHECK_H_
#define TOKEN_SAMPLER_SERVER_FIELD_CHECK_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace token_sampler {

// Walks the message and everything in it. InvalidArgument names the first field that would be
// ignored, with its path ("params[1].typical_p") or its number.
absl::Status CheckFields(const google::protobuf::Message& message);

// What GetServerInfoResponse.features lists: fields of SamplingParams and OutputOptions, and RPCs.
std::vector<std::string> ImplementedFeatures();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_FIELD_CHECK_H_
