// The parameters that place a tensor in shared memory: shared_memory_region,
// shared_memory_byte_size and shared_memory_offset.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_SHARED_MEMORY_PARAMS_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_SHARED_MEMORY_PARAMS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"
#include "server/codec/row_codec.h"

namespace token_sampler {

struct SharedPlace {
  std::string region;  // its name
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// Reads the parameters of a tensor; `tensor` names it in errors. Leaves `place` unset when there
// are none. InvalidArgument when region or byte_size is missing, a value has the wrong type or
// range, or there is any other parameter.
absl::Status ReadSharedPlace(
    absl::string_view tensor,
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters,
    std::optional<SharedPlace>& place);

// Writes the parameters that ReadSharedPlace() reads.
void WriteSharedPlace(const SharedPlace& place,
                      google::protobuf::Map<std::string, inference::InferParameter>& parameters);

// Finds the region and checks that the place is inside it. The errors of FindRegion().
absl::StatusOr<std::shared_ptr<const Region>> FindSharedPlace(absl::string_view tensor,
                                                              const SharedPlace& place,
                                                              const CallContext& context);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_SHARED_MEMORY_PARAMS_H_
