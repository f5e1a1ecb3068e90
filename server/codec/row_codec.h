// Decodes the fields that several requests have: tensors, profiles, keys, histories, bitmasks.
// Unless stated otherwise, an error is InvalidArgument, which names the field, its value and what
// is accepted.

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
  uint32_t max_rows = 4096;                           // per call
  uint32_t max_vocab = 1u << 24;                      // at most kMaxVocab
  RegionRegistry* regions = nullptr;                  // in which tensors may be; null: none
  CallIdentity caller = {};                           // who sent the request
  CallerLedgers* callers = nullptr;                   // from which ForCaller takes the ledger
  Ledger* ledger = nullptr;                           // grants memory; null: there is no budget
  uint64_t max_parsed_bytes = uint64_t{256} << 20;    // of one request after parsing
  uint64_t max_response_bytes = uint64_t{128} << 20;  // of one answer

  // Returns the limits of a call by `identity`.
  RequestLimits ForCaller(const CallIdentity& identity, RegionRegistry& of_server) const {
    RequestLimits limits = *this;
    limits.regions = &of_server;
    limits.caller = identity;
    if (callers != nullptr) limits.ledger = &callers->Of(identity.client);
    return limits;
  }
};

// What repeated fields have one entry for, and the number of these: {"row", 8}.
struct Units {
  absl::string_view name;
  size_t count;
};

InputKind DecodeKind(v1::InputKind kind);

// Decodes the type, and checks that rows and vocab are within the limits.
absl::Status DecodeShape(const v1::Tensor& tensor, absl::string_view field,
                         const RequestLimits& limits, DataType& type);

// Finds a registered region, and checks that the block is in it. Errors are those of RegionRegistry
// and Region::CheckBlock, and InvalidArgument for more bytes than a call may read; all begin with
// `field`.
absl::StatusOr<std::shared_ptr<const Region>> FindRegion(const std::string& name,
                                                         const RowBlock& block,
                                                         absl::string_view field,
                                                         const RequestLimits& limits);

// Makes rows [tensor.rows] whose values are in the tensor, or in `data` if it is not null, or are
// read from `region_rows` if the tensor names a region. `field` is the tensor's name. Errors are
// InvalidArgument and those of FindRegion.
absl::Status DecodeTensor(const v1::Tensor& tensor, absl::string_view field, InputKind kind,
                          const RequestLimits& limits, std::vector<RowInput>& rows,
                          std::shared_ptr<const RegionRows>& region_rows,
                          const SlicedBytes* data = nullptr);

// Decodes the profiles, at least one, and the index of each unit's profile: [units.count]. `field`
// is the name of `indexes`. ValidateParams checks the ranges of parameters.
absl::Status DecodeProfiles(const google::protobuf::RepeatedPtrField<v1::SamplingParams>& messages,
                            const google::protobuf::RepeatedField<uint32_t>& indexes,
                            absl::string_view field, const Units& units,
                            std::vector<SamplingParams>& profiles, std::vector<uint32_t>& chosen);

// Decodes keys [units.count]. If there are no seeds, makes random ones below 2^63, which fit into
// signed integers of other systems; if there are no streams, those that RowKeys promises.
absl::Status DecodeKeys(const v1::RowKeys& message, const Units& units, std::vector<RowKey>& keys);

// Makes histories [units.count] that point into the message. If it says to skip unknown ids, also
// counts the ids of each unit that are not below `vocab`: [units.count].
absl::Status DecodeHistories(const v1::Histories& message, const Units& units, int64_t vocab,
                             std::vector<RowHistory>& histories,
                             std::vector<uint32_t>& skipped_ids);

// Returns an error that names the parameter of profile number `profile` that needs a history at
// this step which was not sent; "" if there is none. `histories` is null if the call has none.
std::string MissingHistory(const SamplingParams& params, size_t profile, uint64_t step,
                           const v1::Histories* histories);

RowState DecodeState(const v1::RowState& message);

// Points the rows at their masks in the message. There must be at least one row.
absl::Status DecodeBitmask(const v1::Bitmask& message, std::vector<RowInput>& rows);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_CODEC_ROW_CODEC_H_
