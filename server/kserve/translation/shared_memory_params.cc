#include "server/kserve/translation/shared_memory_params.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/translation/proto_field.h"

namespace token_sampler {
namespace {

constexpr char kRegion[] = "shared_memory_region";
constexpr char kByteSize[] = "shared_memory_byte_size";
constexpr char kOffset[] = "shared_memory_offset";

absl::StatusOr<uint64_t> ReadBytes(absl::string_view field,
                                   const inference::InferParameter& parameter) {
  const std::optional<FieldValue> value = ParameterValue(parameter);
  const std::optional<absl::int128> integer = value ? AsInteger(*value) : std::nullopt;
  if (!integer || *integer < 0 || *integer > std::numeric_limits<uint64_t>::max()) {
    return Invalid(field, " must be an integer, 0 or more");
  }
  return static_cast<uint64_t>(*integer);
}

}  // namespace

absl::Status ReadSharedPlace(
    absl::string_view tensor,
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters,
    std::optional<SharedPlace>& place) {
  if (parameters.empty()) return absl::OkStatus();
  place.emplace();
  for (const auto& [name, parameter] : parameters) {
    const std::string field = absl::StrCat(tensor, ".parameters.", name);
    if (name == kRegion) {
      if (!parameter.has_string_param()) return Invalid(field, " must be a string");
      place->region = parameter.string_param();
    } else if (name == kByteSize) {
      ASSIGN_OR_RETURN(place->byte_size, ReadBytes(field, parameter));
    } else if (name == kOffset) {
      ASSIGN_OR_RETURN(place->offset, ReadBytes(field, parameter));
    } else {
      return Invalid(field, " is not supported by this server");
    }
  }
  for (const char* needed : {kRegion, kByteSize}) {
    if (parameters.contains(needed)) continue;
    return Invalid(tensor, ".parameters.", needed, " must be set for a tensor in shared memory");
  }
  return absl::OkStatus();
}

void WriteSharedPlace(const SharedPlace& place,
                      google::protobuf::Map<std::string, inference::InferParameter>& parameters) {
  // Unless the key is a std::string, GCC 12 warns wrongly that the map reads beyond its end.
  parameters[std::string(kRegion)].set_string_param(place.region);
  parameters[std::string(kByteSize)].set_int64_param(static_cast<int64_t>(place.byte_size));
  if (place.offset > 0) {
    parameters[std::string(kOffset)].set_int64_param(static_cast<int64_t>(place.offset));
  }
}

absl::StatusOr<std::shared_ptr<const Region>> FindSharedPlace(absl::string_view tensor,
                                                              const SharedPlace& place,
                                                              const CallContext& context) {
  const RowBlock block = {
      .offset = place.offset, .rows = 1, .row_bytes = place.byte_size, .stride = place.byte_size};
  return FindRegion(place.region, block, tensor, context);
}

}  // namespace token_sampler
