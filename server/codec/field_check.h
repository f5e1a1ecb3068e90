// Refuses requests with field numbers or enum values of a newer contract, which this server would
// ignore.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_
#define TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace token_sampler {

// Checks a message of this server's contract and all messages in it. InvalidArgument names the
// number of an unknown field, or the path of an enum with an unknown value
// ("params[1].stage_preset").
absl::Status CheckFields(const google::protobuf::Message& message);

// Returns the names of all RPCs and of the fields of SamplingParams and OutputOptions, for
// GetServerInfoResponse.features.
std::vector<std::string> ImplementedFeatures();

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_FIELD_CHECK_H_
