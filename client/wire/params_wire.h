// Parameters, keys, histories, states and output options between the client's types and the wire.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_PARAMS_WIRE_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_PARAMS_WIRE_H_

#include <vector>

#include "absl/status/status.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {

// The messages must be empty.
void ToProto(const SamplingParams& params, v1::SamplingParams* proto);
void ToProto(const RowKeys& keys, v1::RowKeys* proto);
void ToProto(const std::vector<History>& histories, bool skip_unknown_ids, v1::Histories* proto);
void ToProto(const RowState& state, v1::RowState* proto);
void ToProto(const OutputOptions& outputs, v1::OutputOptions* proto);

// InvalidArgument when ids are to be skipped of histories that are not there.
absl::Status CheckHistories(const std::vector<History>& histories, bool skip_unknown_ids);

RowState FromProto(const v1::RowState& proto);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_PARAMS_WIRE_H_
