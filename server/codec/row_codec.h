// Decodes the fields that several requests have: tensors, profiles, keys, histories, bitmasks.
// Unless stated otherwise, an error is InvalidArgument, which names the field, its value and what
// is accepted.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sampler/sampler.h"
#include "server/calls/sliced_request.h"
#include "server/codec/call_context.h"
#include "server/regions/region_rows.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

// The units for which repeated fields have one entry each: {"row", 8}.
struct Units {
  absl::string_view name;
  size_t count;
};

InputKind DecodeKind(v1::InputKind kind);

// Checks that rows and vocab are within the limits. Returns the type of the values.
absl::StatusOr<DataType> DecodeShape(const v1::Tensor& tensor, absl::string_view field,
                                     const CallContext& context);

// Finds a registered region, and checks that the block is in it. Errors are those of RegionRegistry
// and Region::CheckBlock, and InvalidArgument for more bytes than a call may read; all begin with
// `field`.
absl::StatusOr<std::shared_ptr<const Region>> FindRegion(const std::string& name,
                                                         const RowBlock& block,
                                                         absl::string_view field,
                                                         const CallContext& context);

struct TensorRows {
  std::vector<RowInput> rows;                // [tensor.rows]
  std::shared_ptr<const RegionRows> region;  // from which they are read; null if they are not
};

// Makes rows whose values are in the tensor, or in `data` if it is not null, or are read from a
// region if the tensor names one. `field` is the tensor's name. Errors are InvalidArgument and
// those of FindRegion.
absl::StatusOr<TensorRows> DecodeTensor(const v1::Tensor& tensor, absl::string_view field,
                                        InputKind kind, const CallContext& context,
                                        const SlicedBytes* data = nullptr);

struct Profiles {
  std::vector<SamplingParams> params;  // at least one
  std::vector<uint32_t> of_unit;       // [units.count], indexes into params
};

// Decodes the profiles and the index of each unit's profile. `field` is the name of `indexes`.
absl::StatusOr<Profiles> DecodeProfiles(
    const google::protobuf::RepeatedPtrField<v1::SamplingParams>& messages,
    const google::protobuf::RepeatedField<uint32_t>& indexes, absl::string_view field,
    const Units& units);

// Returns the errors of the units whose profile `check` refuses, [units.count] with "" for the
// others; no entries if it refuses none. `check` gets the index of a profile that a unit uses, and
// is called once for each, because a check may take long.
std::vector<std::string> CheckProfiles(const Profiles& profiles, const Units& units,
                                       absl::FunctionRef<absl::Status(uint32_t index)> check);

// Decodes keys [units.count]. If there are no seeds, makes random ones below 2^63, which fit into
// signed integers of other systems; if there are no streams, those that RowKeys promises.
absl::StatusOr<std::vector<RowKey>> DecodeKeys(const v1::RowKeys& message, const Units& units);

struct DecodedHistories {
  std::vector<RowHistory> of_unit;    // [units.count], which point into the message
  std::vector<uint32_t> skipped_ids;  // [units.count], ids that are not below the vocabulary; no
                                      // entries unless the message says to skip these
};

absl::StatusOr<DecodedHistories> DecodeHistories(const v1::Histories& message, const Units& units,
                                                 int64_t vocab);

// InvalidArgument names the parameter of profile number `profile` that needs a history at this step
// which was not sent. `histories` is null if the call has none.
absl::Status CheckHistorySent(const SamplingParams& params, size_t profile, uint64_t step,
                              const v1::Histories* histories);

RowState DecodeState(const v1::RowState& message);

// Points the rows at their masks in the message. There must be at least one row.
absl::Status DecodeBitmask(const v1::Bitmask& message, std::vector<RowInput>& rows);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_
