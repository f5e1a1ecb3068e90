// Refuses what a request holds but this server would ignore: field numbers and enum values of a
// newer contract.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_
#define TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace token_sampler {

// Walks a message of this server's contract and everything in it. InvalidArgument names the number
// of a field that it does not know, or the path of an enum with such a value
// ("params[1].stage_preset").
absl::Status CheckFields(const google::protobuf::Message& message);

// Lists RPCs, and fields of SamplingParams and OutputOptions, for GetServerInfoResponse.features.
std::vector<std::string> ImplementedFeatures();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_
