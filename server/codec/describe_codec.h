// Describe between the wire and the sampler; see request_codec.h.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "sampler/describe.h"
#include "server/codec/request_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// As DecodeSample of the request's one row; decoded.answer is that of the views. `top_n` is how
// many tokens a view shows.
absl::Status DecodeDescribe(const v1::DescribeRequest& request, const RequestLimits& limits,
                            DecodedSample& decoded, uint32_t& top_n);

// The bytes that DescribeRow needs while it runs.
uint64_t DescribeWorkBytes(const RowInput& row);

// `views` and `result` are of DescribeRow.
void EncodeDescribe(const DecodedSample& decoded, const std::vector<StageView>& views,
                    const RowResult& result, v1::DescribeResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_
