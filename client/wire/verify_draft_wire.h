// Converts VerifyDraft between the library's plain types and token_sampler.v1 messages.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_VERIFY_DRAFT_WIRE_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_VERIFY_DRAFT_WIRE_H_

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {

// Serializes the request. InvalidArgument when a matrix contradicts itself, a sequence has
// different numbers of parents and tokens, or the message would exceed 2^31 - 1 bytes.
absl::StatusOr<grpc::ByteBuffer> EncodeVerifyDraftRequest(const VerifyDraftRequest& request);

// Internal when the response is inconsistent or does not fit these sequences.
absl::StatusOr<VerifyDraftResult> DecodeVerifyDraftResponse(
    const v1::VerifyDraftResponse& response, const std::vector<DraftSequence>& sequences);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_VERIFY_DRAFT_WIRE_H_
