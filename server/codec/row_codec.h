// The fields that several requests have: tensors, profiles, keys, histories, bitmasks. Whatever is
// wrong with one is InvalidArgument, which names the field, its value and what is accepted.

#ifndef TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_
#define TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sampler/sampler.h"
#include "server/calls/call_identity.h"
#include "server/calls/sliced_request.h"
#include "server/memory/caller_ledgers.h"
#include "server/memory/ledger.h"
#include "server/regions/region_registry.h"
#include "server/regions/region_rows.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {

struct RequestLimits {
  uint32_t max_rows = 4096;                         // per call
  uint32_t max_vocab = 1u << 24;                    // at most kMaxVocab
  RegionRegistry* regions = nullptr;                // that tensors may lie in; null: none
  CallIdentity caller = {};                         // whose regions they are
  CallerLedgers* callers = nullptr;                 // of which ForCaller takes the ledger
  Ledger* ledger = nullptr;                         // that grants memory; null: there is no budget
  uint64_t max_parsed_bytes = uint64_t{256} << 20;  // of one request, once it is parsed
  uint64_t max_response_bytes = uint64_t{128} << 20;  // of one answer

  // Those of one call.
  RequestLimits ForCaller(const CallIdentity& identity, RegionRegistry& of_server) const {
    RequestLimits limits = *this;
    limits.regions = &of_server;
    limits.caller = identity;
    if (callers != nullptr) limits.ledger = &callers->Of(identity.client);
    return limits;
  }
};

// What repeated fields have an entry for, and how many there are: {"row", 8}.
struct Units {
  absl::string_view name;
  size_t count;
};

InputKind DecodeKind(v1::InputKind kind);

// The type, and whether rows and vocab are within the limits.
absl::Status DecodeShape(const v1::Tensor& tensor, absl::string_view field,
                         const RequestLimits& limits, DataType& type);

// A registered region, and that the block lies in it. Errors begin with `field`: those of
// RegionRegistry and Region::CheckBlock, and InvalidArgument for more bytes than a call may read.
absl::StatusOr<std::shared_ptr<const Region>> FindRegion(const std::string& name,
                                                         const RowBlock& block,
                                                         absl::string_view field,
                                                         const RequestLimits& limits);

// Rows [tensor.rows] whose values lie in the tensor, or in `data` if that is not null, or are read
// from `region_rows` when the tensor names a region. `field` is the tensor's name. Besides
// InvalidArgument, the errors of FindRegion.
absl::Status DecodeTensor(const v1::Tensor& tensor, absl::string_view field, InputKind kind,
                          const RequestLimits& limits, std::vector<RowInput>& rows,
                          std::shared_ptr<const RegionRows>& region_rows,
                          const SlicedBytes* data = nullptr);

// At least one profile, and for each unit the index of its own: [units.count]. `field` is the name
// of `indexes`. Ranges of parameters are left to ValidateParams.
absl::Status DecodeProfiles(const google::protobuf::RepeatedPtrField<v1::SamplingParams>& messages,
                            const google::protobuf::RepeatedField<uint32_t>& indexes,
                            absl::string_view field, const Units& units,
                            std::vector<SamplingParams>& profiles, std::vector<uint32_t>& chosen);

// [units.count]. Without seeds, random ones below 2^63, which signed integers of other systems
// hold; without streams, those that RowKeys promises.
absl::Status DecodeKeys(const v1::RowKeys& message, const Units& units, std::vector<RowKey>& keys);

// [units.count] histories that point into the message. When it says to skip unknown ids, also how
// many of each unit's are not below `vocab`: [units.count].
absl::Status DecodeHistories(const v1::Histories& message, const Units& units, int64_t vocab,
                             std::vector<RowHistory>& histories,
                             std::vector<uint32_t>& skipped_ids);

// Says which parameter of profile number `profile` looks at a history that a row at this step must
// have and was not sent; empty when there is none. `histories` is null when the call has none.
std::string MissingHistory(const SamplingParams& params, size_t profile, uint64_t step,
                           const v1::Histories* histories);

RowState DecodeState(const v1::RowState& message);

// Points the rows, of which there is at least one, at their masks in the message.
absl::Status DecodeBitmask(const v1::Bitmask& message, std::vector<RowInput>& rows);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_
