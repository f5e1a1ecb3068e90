// Decodes requests and encodes answers of Describe; see request_codec.h.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "sampler/describe.h"
#include "server/codec/request_codec.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// Decodes the request's one row like DecodeSample. decoded.answer is the size of the views. Returns
// the number of tokens that a view shows.
absl::StatusOr<uint32_t> DecodeDescribe(const v1::DescribeRequest& request,
                                        const CallContext& context, DecodedSample& decoded);

// Returns the bytes that DescribeRow needs while it runs.
uint64_t DescribeWorkBytes(const RowInput& row);

// `views` and `result` must be from DescribeRow.
void EncodeDescribe(const DecodedSample& decoded, const std::vector<StageView>& views,
                    const RowResult& result, v1::DescribeResponse& response);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_DESCRIBE_CODEC_H_
