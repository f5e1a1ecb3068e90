#include "server/codec/row_codec.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <numeric>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "client/usage/counted.h"
#include "sampler/rows/adjustments.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/params_codec.h"

namespace token_sampler {
namespace {

absl::StatusOr<DataType> DecodeType(const v1::Tensor& tensor, absl::string_view field) {
  switch (tensor.dtype()) {
    case v1::DATA_TYPE_FLOAT32:
      return DataType::kFloat32;
    case v1::DATA_TYPE_FLOAT16:
      return DataType::kFloat16;
    case v1::DATA_TYPE_BFLOAT16:
      return DataType::kBFloat16;
    case v1::DATA_TYPE_FLOAT64:
      return DataType::kFloat64;
    default:
      return Invalid(
          field,
          ".dtype must be a floating-point type: FLOAT32, FLOAT16, BFLOAT16 or FLOAT64, got ",
          tensor.has_dtype() ? absl::StrCat(tensor.dtype()) : "none");
  }
}

// Checks lists of ids, one per unit, given as lengths and the ids of all lists. `sum` is the sum of
// the lengths.
absl::Status CheckLists(absl::string_view field, int lengths, uint64_t sum, int ids,
                        const Units& units) {
  if (lengths == 0 && ids == 0) return absl::OkStatus();
  if (static_cast<size_t>(lengths) != units.count) {
    return Invalid("histories.", field, ".lengths must have one entry per ", units.name, " (",
                   units.count, "), got ", lengths);
  }
  if (sum != static_cast<uint64_t>(ids)) {
    return Invalid("histories.", field,
                   ".token_ids must have as many entries as its lengths sum up to, ", sum, ", got ",
                   ids);
  }
  return absl::OkStatus();
}

// Splits an array into the shares of the units, in their order.
class Shares {
 public:
  Shares(const google::protobuf::RepeatedField<uint32_t>& lengths,
         const google::protobuf::RepeatedField<uint32_t>& array)
      : lengths_(lengths), rest_(array.data(), static_cast<size_t>(array.size())) {}

  absl::Span<const uint32_t> Next() {
    if (unit_ >= lengths_.size()) return {};
    const absl::Span<const uint32_t> share = rest_.first(lengths_.Get(unit_++));
    rest_.remove_prefix(share.size());
    return share;
  }

 private:
  const google::protobuf::RepeatedField<uint32_t>& lengths_;
  absl::Span<const uint32_t> rest_;
  int unit_ = 0;
};

template <typename Lists>
absl::Status CheckLists(absl::string_view field, const Lists& lists, const Units& units) {
  const uint64_t sum = std::accumulate(lists.lengths().begin(), lists.lengths().end(), uint64_t{0});
  return CheckLists(field, lists.lengths_size(), sum, lists.token_ids_size(), units);
}

absl::Status CheckKeyCount(const char* field, int count, const Units& units) {
  if (count <= 1 || static_cast<size_t>(count) == units.count) return absl::OkStatus();
  return Invalid("keys.", field, " must have one entry per ", units.name, " (", units.count,
                 "), one for all, or none, got ", count);
}

void FillRandom(std::vector<uint64_t>& words) {
  auto* bytes = reinterpret_cast<char*>(words.data());
  size_t left = words.size() * sizeof(uint64_t);
  while (left > 0) {
    const ssize_t got = getrandom(bytes, left, 0);
    if (got < 0 && errno != EINTR) std::abort();  // the kernel has had getrandom since 3.17
    if (got > 0) {
      bytes += got;
      left -= static_cast<size_t>(got);
    }
  }
}

// Points the rows, which already have their shape, at their places in a region.
absl::StatusOr<std::shared_ptr<const RegionRows>> PlaceInRegion(const v1::RegionSlice& slice,
                                                                const std::string& field,
                                                                const CallContext& context,
                                                                std::vector<RowInput>& rows) {
  const uint64_t element_size = ElementSize(rows[0].dtype);
  const uint64_t row_bytes = ValueBytes(rows[0]);
  const RowBlock block = {.offset = slice.offset(),
                          .rows = rows.size(),
                          .row_bytes = row_bytes,
                          .stride = slice.has_row_stride() ? slice.row_stride() : row_bytes};
  if (block.offset % element_size != 0) {
    return Invalid(field, ".offset must be a multiple of the ", element_size,
                   " bytes of a value, got ", block.offset);
  }
  if (block.stride < row_bytes || block.stride % element_size != 0) {
    return Invalid(field, ".row_stride must be at least the ", row_bytes,
                   " bytes of a row and a multiple of the ", element_size,
                   " bytes of a value, got ", block.stride);
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const Region> region,
                   FindRegion(slice.name(), block, field, context));
  const auto source = std::make_shared<const RegionRows>(std::move(region), block, field);
  for (size_t r = 0; r < rows.size(); ++r) {
    rows[r].source = source.get();
    rows[r].source_offset = block.offset + r * block.stride;
  }
  return source;
}

}  // namespace

InputKind DecodeKind(v1::InputKind kind) {
  return kind == v1::INPUT_KIND_WEIGHTS ? InputKind::kWeights : InputKind::kLogits;
}

absl::StatusOr<DataType> DecodeShape(const v1::Tensor& tensor, absl::string_view field,
                                     const CallContext& context) {
  ASSIGN_OR_RETURN(const DataType type, DecodeType(tensor, field));
  if (tensor.rows() < 1 || tensor.rows() > context.limits.max_rows) {
    return Invalid(field, ".rows must be in [1, ", context.limits.max_rows, "], got ",
                   tensor.rows());
  }
  if (tensor.vocab() < 1 || tensor.vocab() > context.limits.max_vocab) {
    return Invalid(field, ".vocab must be in [1, ", context.limits.max_vocab, "], got ",
                   tensor.vocab());
  }
  return type;
}

absl::StatusOr<std::shared_ptr<const Region>> FindRegion(const std::string& name,
                                                         const RowBlock& block,
                                                         absl::string_view field,
                                                         const CallContext& context) {
  if (context.regions == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(field, ": the server has no shared memory"));
  }
  const RegionRegistry& regions = *context.regions;
  RETURN_IF_ERROR(NamedStatus(field, regions.CheckUse(context.caller)));
  absl::StatusOr<std::shared_ptr<const Region>> region = regions.Find(name, context.caller);
  RETURN_IF_ERROR(NamedStatus(field, region.status()));
  RETURN_IF_ERROR(NamedStatus(field, (*region)->CheckBlock(block)));
  // Does not overflow, because the block is inside the region.
  const uint64_t most = regions.options().max_tensor_bytes;
  if (block.rows * block.row_bytes > most) {
    return Invalid(field, " must hold at most ", most, " bytes per call, got ",
                   block.rows * block.row_bytes);
  }
  return region;
}

absl::StatusOr<TensorRows> DecodeTensor(const v1::Tensor& tensor, absl::string_view field,
                                        InputKind kind, const CallContext& context,
                                        const SlicedBytes* data) {
  RowInput row;
  ASSIGN_OR_RETURN(row.dtype, DecodeShape(tensor, field, context));
  if (tensor.has_candidates()) {
    return Invalid(field, ".candidates must not be set: only Sample takes candidates");
  }
  row.kind = kind;
  row.vocab = tensor.vocab();
  TensorRows decoded;
  std::vector<RowInput>& rows = decoded.rows;
  rows.assign(tensor.rows(), row);
  if (tensor.has_region()) {
    ASSIGN_OR_RETURN(decoded.region,
                     PlaceInRegion(tensor.region(), absl::StrCat(field, ".region"), context, rows));
    return decoded;
  }
  if (!tensor.has_data()) return Invalid(field, ".data must be set: the values of the rows");
  // At most 2^32 * 2^24 * 8 = 2^59.
  const uint64_t row_bytes = ValueBytes(row);
  const uint64_t expected = tensor.rows() * row_bytes;
  const uint64_t got = data == nullptr ? tensor.data().size() : data->size();
  if (got != expected) {
    return Invalid(field, ".data must have ", expected, " bytes for [", tensor.rows(), ", ",
                   tensor.vocab(), "] values of ", DataTypeName(row.dtype), ", got ", got);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const uint64_t offset = r * row_bytes;
    rows[r].values =
        data == nullptr ? tensor.data().data() + offset : data->Find(offset, row_bytes);
    if (rows[r].values != nullptr) continue;
    rows[r].source = data;
    rows[r].source_offset = offset;
  }
  return decoded;
}

absl::StatusOr<Profiles> DecodeProfiles(
    const google::protobuf::RepeatedPtrField<v1::SamplingParams>& messages,
    const google::protobuf::RepeatedField<uint32_t>& indexes, absl::string_view field,
    const Units& units) {
  Profiles profiles;
  profiles.params.resize(static_cast<size_t>(std::max(messages.size(), 1)));
  for (int i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(DecodeParams(messages.Get(i), i, profiles.params[static_cast<size_t>(i)]));
  }
  if (indexes.empty() && messages.size() > 1) {
    return Invalid(field, " must be set when there are several params: one index per ", units.name);
  }
  if (!indexes.empty() && static_cast<size_t>(indexes.size()) != units.count) {
    return Invalid(field, " must have one entry per ", units.name, " (", units.count,
                   ") or none, got ", indexes.size());
  }
  for (int i = 0; i < indexes.size(); ++i) {
    if (indexes.Get(i) >= profiles.params.size()) {
      return Invalid(field, "[", i, "] must be an index into params, of which there are ",
                     messages.size(), ", got ", indexes.Get(i));
    }
  }
  profiles.of_unit.assign(indexes.begin(), indexes.end());
  profiles.of_unit.resize(units.count);
  return profiles;
}

std::vector<std::string> CheckProfiles(const Profiles& profiles, const Units& units,
                                       absl::FunctionRef<absl::Status(uint32_t index)> check) {
  std::vector<std::string> errors;
  std::vector<std::optional<absl::Status>> checked(profiles.params.size());
  for (size_t unit = 0; unit < units.count; ++unit) {
    const uint32_t index = profiles.of_unit[unit];
    if (!checked[index].has_value()) checked[index] = check(index);
    if (checked[index]->ok()) continue;
    errors.resize(units.count);
    errors[unit] = absl::StrCat(units.name, " ", unit, ": ", checked[index]->message());
  }
  return errors;
}

absl::StatusOr<std::vector<RowKey>> DecodeKeys(const v1::RowKeys& message, const Units& units) {
  RETURN_IF_ERROR(CheckKeyCount("seeds", message.seeds_size(), units));
  RETURN_IF_ERROR(CheckKeyCount("steps", message.steps_size(), units));
  RETURN_IF_ERROR(CheckKeyCount("streams", message.streams_size(), units));
  const auto entry = [](const auto& array, size_t unit) {
    return array.Get(array.size() == 1 ? 0 : static_cast<int>(unit));
  };
  std::vector<uint64_t> random_seeds(message.seeds_size() == 0 ? units.count : 0);
  FillRandom(random_seeds);
  const bool share_seed = message.seeds_size() == 1;
  std::vector<RowKey> keys(units.count);
  for (size_t i = 0; i < units.count; ++i) {
    keys[i].seed = random_seeds.empty() ? entry(message.seeds(), i) : random_seeds[i] >> 1;
    if (message.steps_size() != 0) keys[i].step = entry(message.steps(), i);
    if (message.streams_size() != 0) {
      keys[i].stream = entry(message.streams(), i);
    } else if (share_seed) {
      keys[i].stream = static_cast<uint32_t>(i);
    }
  }
  return keys;
}

absl::StatusOr<DecodedHistories> DecodeHistories(const v1::Histories& message, const Units& units,
                                                 int64_t vocab) {
  if (message.has_prompt_ids() && message.has_prompt_set()) {
    return Invalid("histories must not set both prompt_ids and prompt_set");
  }
  if (message.has_output_ids() && message.has_output_counts()) {
    return Invalid("histories must not set both output_ids and output_counts");
  }
  RETURN_IF_ERROR(CheckLists("prompt_ids", message.prompt_ids(), units));
  RETURN_IF_ERROR(CheckLists("output_ids", message.output_ids(), units));
  RETURN_IF_ERROR(CheckLists("prompt_set", message.prompt_set(), units));
  RETURN_IF_ERROR(CheckLists("output_counts", message.output_counts(), units));
  const v1::IdCounts& counts = message.output_counts();
  if (counts.counts_size() != counts.token_ids_size()) {
    return Invalid("histories.output_counts.counts must have one entry per token id (",
                   counts.token_ids_size(), "), got ", counts.counts_size());
  }
  Shares prompt_ids(message.prompt_ids().lengths(), message.prompt_ids().token_ids());
  Shares output_ids(message.output_ids().lengths(), message.output_ids().token_ids());
  Shares prompt_set(message.prompt_set().lengths(), message.prompt_set().token_ids());
  Shares count_ids(counts.lengths(), counts.token_ids());
  Shares count_values(counts.lengths(), counts.counts());
  DecodedHistories histories;
  histories.of_unit.resize(units.count);
  for (RowHistory& history : histories.of_unit) {
    history = {prompt_ids.Next(), output_ids.Next(),   prompt_set.Next(),
               count_ids.Next(),  count_values.Next(), message.skip_unknown_ids()};
    if (!history.skip_unknown_ids) continue;
    histories.skipped_ids.push_back(CountUnknownIds(history, vocab));
  }
  return histories;
}

absl::Status CheckHistorySent(const SamplingParams& params, size_t profile, uint64_t step,
                              const v1::Histories* histories) {
  if (step == 0) return absl::OkStatus();
  if (histories == nullptr) {
    const absl::string_view reader = HistoryReader(params);
    if (reader.empty()) return absl::OkStatus();
    return Invalid("params[", profile, "].", reader, " needs a history at step ", step,
                   ": send prompt_ids and output_ids, empty if there are none");
  }
  const bool prompt = histories->has_prompt_ids() || histories->has_prompt_set();
  const bool output = histories->has_output_ids() || histories->has_output_counts();
  const absl::string_view reader = prompt && !output ? OutputReader(params) : "";
  if (reader.empty()) return absl::OkStatus();
  return Invalid("params[", profile, "].", reader, " needs the output at step ", step,
                 ": send output_ids, empty if there are none");
}

RowState DecodeState(const v1::RowState& message) {
  RowState state;
  if (message.has_mirostat_mu()) state.mirostat_mu = message.mirostat_mu();
  if (message.has_adaptive_p_sum()) state.adaptive_p_sum = message.adaptive_p_sum();
  if (message.has_adaptive_p_weight()) state.adaptive_p_weight = message.adaptive_p_weight();
  if (message.has_top_p()) state.top_p = message.top_p();
  return state;
}

absl::Status DecodeBitmask(const v1::Bitmask& message, std::vector<RowInput>& rows) {
  const size_t masks =
      message.rows().empty() ? rows.size() : static_cast<size_t>(message.rows_size());
  const size_t mask_bytes = (static_cast<size_t>(rows[0].vocab) + 31) / 32 * 4;
  if (message.words().size() != masks * mask_bytes) {
    return Invalid("bitmask.words must have ", masks * mask_bytes, " bytes for ",
                   Counted(masks, "mask"), " of ", Counted(mask_bytes / 4, "word"), ", got ",
                   message.words().size());
  }
  const auto* words = reinterpret_cast<const uint8_t*>(message.words().data());
  for (size_t i = 0; i < masks; ++i) {
    const size_t row = message.rows().empty() ? i : message.rows(static_cast<int>(i));
    if (row >= rows.size()) {
      return Invalid("bitmask.rows[", i, "] must be below the ", Counted(rows.size(), "row"),
                     ", got ", row);
    }
    if (rows[row].bitmask != nullptr) {
      return Invalid("bitmask.rows[", i, "] names row ", row, " again");
    }
    rows[row].bitmask = words + i * mask_bytes;
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
