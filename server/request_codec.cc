#include "server/request_codec.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <numeric>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/field_check.h"
#include "server/params_codec.h"

namespace token_sampler {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::StatusOr<DataType> DecodeType(const v1::Tensor& tensor) {
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
          "tensor.dtype must be a floating-point type: FLOAT32, FLOAT16, BFLOAT16 or FLOAT64, got ",
          tensor.has_dtype() ? absl::StrCat(tensor.dtype()) : "none");
  }
}

// Checks the tensor; `rows`' entries then point at its values.
absl::Status DecodeTensor(const v1::SampleRequest& request, const RequestLimits& limits,
                          std::vector<RowInput>& rows) {
  if (!request.has_tensor()) return Invalid("tensor must be set");
  const v1::Tensor& tensor = request.tensor();
  const absl::StatusOr<DataType> type = DecodeType(tensor);
  if (!type.ok()) return type.status();
  if (tensor.rows() < 1 || tensor.rows() > limits.max_rows) {
    return Invalid("tensor.rows must be in [1, ", limits.max_rows, "], got ", tensor.rows());
  }
  if (tensor.vocab() < 1 || tensor.vocab() > limits.max_vocab) {
    return Invalid("tensor.vocab must be in [1, ", limits.max_vocab, "], got ", tensor.vocab());
  }
  if (tensor.source_case() != v1::Tensor::kData) {
    return Invalid("tensor.data must be set: the values of the rows");
  }
  // At most 2^32 * 2^24 * 8 = 2^59.
  const uint64_t row_bytes = uint64_t{tensor.vocab()} * ElementSize(*type);
  const uint64_t expected = tensor.rows() * row_bytes;
  if (tensor.data().size() != expected) {
    return Invalid("tensor.data must have ", expected, " bytes for [", tensor.rows(), ", ",
                   tensor.vocab(), "] values of ", DataTypeName(*type), ", got ",
                   tensor.data().size());
  }
  rows.resize(tensor.rows());
  for (size_t r = 0; r < rows.size(); ++r) {
    rows[r].values = tensor.data().data() + r * row_bytes;
    rows[r].dtype = *type;
    rows[r].vocab = tensor.vocab();
    rows[r].kind =
        request.input_kind() == v1::INPUT_KIND_WEIGHTS ? InputKind::kWeights : InputKind::kLogits;
  }
  return absl::OkStatus();
}

// Gives each row its profile; where its values are out of range, an entry of row_errors.
absl::Status DecodeProfiles(const v1::SampleRequest& request, std::vector<RowInput>& rows,
                            DecodedSample& decoded) {
  for (int i = 0; i < request.params_size(); ++i) {
    const absl::Status status = DecodeParams(request.params(i), i, decoded.profiles.emplace_back());
    if (!status.ok()) return status;
  }
  if (decoded.profiles.empty()) decoded.profiles.emplace_back();
  const auto row_count = static_cast<int>(rows.size());
  const int indexes = request.row_params_size();
  if (indexes == 0 && request.params_size() > 1) {
    return Invalid("row_params must be set when there are several params: one index per row");
  }
  if (indexes != 0 && indexes != row_count) {
    return Invalid("row_params must have one entry per row (", row_count, ") or none, got ",
                   indexes);
  }
  // Each profile that a row uses is checked once, however many rows use it: a check may be long.
  std::vector<std::optional<absl::Status>> checked(decoded.profiles.size());
  uint64_t draws = 0;
  for (int r = 0; r < row_count; ++r) {
    const uint32_t index = indexes == 0 ? 0 : request.row_params(r);
    if (index >= decoded.profiles.size()) {
      return Invalid("row_params[", r, "] must be an index into params, of which there are ",
                     request.params_size(), ", got ", index);
    }
    RowInput& row = rows[static_cast<size_t>(r)];
    row.params = &decoded.profiles[index];
    std::optional<absl::Status>& status = checked[index];
    if (!status.has_value()) {
      const std::string profile = absl::StrCat("params[", index, "]");
      status = ValidateParams(*row.params, row.kind, row.vocab, {.profile = profile});
    }
    if (!status->ok()) {
      decoded.row_errors.resize(rows.size());
      decoded.row_errors[static_cast<size_t>(r)] = absl::StrCat("row ", r, ": ", status->message());
      continue;
    }
    draws += row.params->num_samples;
  }
  if (draws > kMaxValuesPerCall) {
    return Invalid("num_samples of all rows together must be at most ", kMaxValuesPerCall, ", got ",
                   draws);
  }
  return absl::OkStatus();
}

absl::Status DecodeOutputs(const v1::SampleRequest& request, uint64_t row_count,
                           OutputOptions& outputs) {
  const v1::OutputOptions& message = request.outputs();
  outputs.logprobs = message.logprobs();
  outputs.top_logprobs = message.top_logprobs();
  outputs.logprob_mode = message.logprob_mode() == v1::LOGPROB_MODE_PROCESSED
                             ? LogprobMode::kProcessed
                             : LogprobMode::kRaw;
  outputs.ranks = message.ranks();
  outputs.rank_mode = message.rank_mode() == v1::RANK_MODE_GREATER_EQUAL ? RankMode::kGreaterEqual
                                                                         : RankMode::kGreater;
  outputs.kept_count = message.kept_count();
  outputs.kept_set = message.kept_set();
  outputs.extremes = message.extremes();
  outputs.entropy = message.entropy();
  if (message.has_gumbel_softmax()) {
    outputs.gumbel_softmax = message.gumbel_softmax();
    if (!(outputs.gumbel_softmax >= 1e-6 && outputs.gumbel_softmax <= 1e6)) {
      return Invalid("outputs.gumbel_softmax must be in [1e-6, 1e6], got ", outputs.gumbel_softmax);
    }
  }
  if (outputs.top_logprobs > request.tensor().vocab()) {
    return Invalid("outputs.top_logprobs must be at most the ", request.tensor().vocab(),
                   " tokens of a row, got ", outputs.top_logprobs);
  }
  if (row_count * outputs.top_logprobs > kMaxValuesPerCall) {
    return Invalid("outputs.top_logprobs of all rows together must be at most ", kMaxValuesPerCall,
                   ", got ", row_count * outputs.top_logprobs);
  }
  return absl::OkStatus();
}

// The kept sets of all rows must fit a response. Only top-k bounds a set beforehand.
absl::Status CheckKeptSets(const std::vector<RowInput>& rows) {
  uint64_t most = 0;
  for (const RowInput& row : rows) {
    const SamplingParams& params = *row.params;
    const bool bounded = params.top_k > 0 && params.top_k_ties == TiePolicy::kExactlyK;
    const auto vocab = static_cast<uint64_t>(row.vocab);
    most += bounded ? std::min<uint64_t>(vocab, std::max(params.top_k, params.min_tokens_to_keep))
                    : vocab;
  }
  if (most <= kMaxValuesPerCall) return absl::OkStatus();
  return Invalid("outputs.kept_set could hold ", most, " tokens, at most ", kMaxValuesPerCall,
                 " may be: set top_k, or send fewer rows");
}

// Relaxed vectors have vocab entries for each draw.
absl::Status CheckGumbelSoftmax(const std::vector<RowInput>& rows) {
  uint64_t values = 0;
  for (const RowInput& row : rows) {
    values += uint64_t{row.params->num_samples} * static_cast<uint64_t>(row.vocab);
  }
  if (values <= kMaxValuesPerCall) return absl::OkStatus();
  return Invalid("outputs.gumbel_softmax would hold ", values, " values, at most ",
                 kMaxValuesPerCall, " may be: draw fewer tokens, or send fewer rows");
}

// One list of ids per row, as [lengths] and all ids one after the other.
absl::Status CheckLists(absl::string_view field, int lengths, uint64_t sum, int ids, size_t rows) {
  if (lengths == 0 && ids == 0) return absl::OkStatus();
  if (static_cast<size_t>(lengths) != rows) {
    return Invalid("histories.", field, ".lengths must have one entry per row (", rows, "), got ",
                   lengths);
  }
  if (sum != static_cast<uint64_t>(ids)) {
    return Invalid("histories.", field,
                   ".token_ids must have as many entries as its lengths sum up to, ", sum, ", got ",
                   ids);
  }
  return absl::OkStatus();
}

// Hands out the rows' shares of an array, in their order.
class Shares {
 public:
  Shares(const google::protobuf::RepeatedField<uint32_t>& lengths,
         const google::protobuf::RepeatedField<uint32_t>& array)
      : lengths_(lengths), rest_(array.data(), static_cast<size_t>(array.size())) {}

  absl::Span<const uint32_t> Next() {
    if (row_ >= lengths_.size()) return {};
    const absl::Span<const uint32_t> share = rest_.first(lengths_.Get(row_++));
    rest_.remove_prefix(share.size());
    return share;
  }

 private:
  const google::protobuf::RepeatedField<uint32_t>& lengths_;
  absl::Span<const uint32_t> rest_;
  int row_ = 0;
};

template <typename Lists>
absl::Status CheckLists(absl::string_view field, const Lists& lists, size_t rows) {
  const uint64_t sum = std::accumulate(lists.lengths().begin(), lists.lengths().end(), uint64_t{0});
  return CheckLists(field, lists.lengths_size(), sum, lists.token_ids_size(), rows);
}

absl::Status DecodeHistories(const v1::Histories& message, std::vector<RowInput>& rows,
                             std::vector<RowHistory>& histories) {
  if (message.has_prompt_ids() && message.has_prompt_set()) {
    return Invalid("histories must not set both prompt_ids and prompt_set");
  }
  if (message.has_output_ids() && message.has_output_counts()) {
    return Invalid("histories must not set both output_ids and output_counts");
  }
  for (absl::Status status : {CheckLists("prompt_ids", message.prompt_ids(), rows.size()),
                              CheckLists("output_ids", message.output_ids(), rows.size()),
                              CheckLists("prompt_set", message.prompt_set(), rows.size()),
                              CheckLists("output_counts", message.output_counts(), rows.size())}) {
    if (!status.ok()) return status;
  }
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
  histories.resize(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    histories[r] = {prompt_ids.Next(), output_ids.Next(), prompt_set.Next(), count_ids.Next(),
                    count_values.Next()};
    rows[r].history = &histories[r];
  }
  return absl::OkStatus();
}

absl::Status DecodeStates(const v1::SampleRequest& request, std::vector<RowInput>& rows,
                          std::vector<RowState>& states) {
  if (request.states().empty()) return absl::OkStatus();
  if (static_cast<size_t>(request.states_size()) != rows.size()) {
    return Invalid("states must have one entry per row (", rows.size(), ") or none, got ",
                   request.states_size());
  }
  states.resize(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    const v1::RowState& message = request.states(static_cast<int>(r));
    if (message.has_mirostat_mu()) states[r].mirostat_mu = message.mirostat_mu();
    if (message.has_adaptive_p_sum()) states[r].adaptive_p_sum = message.adaptive_p_sum();
    if (message.has_adaptive_p_weight()) states[r].adaptive_p_weight = message.adaptive_p_weight();
    if (message.has_top_p()) states[r].top_p = message.top_p();
    rows[r].state = &states[r];
  }
  return absl::OkStatus();
}

void EncodeState(const RowState& state, v1::RowState& message) {
  if (state.mirostat_mu) message.set_mirostat_mu(*state.mirostat_mu);
  if (state.adaptive_p_sum) message.set_adaptive_p_sum(*state.adaptive_p_sum);
  if (state.adaptive_p_weight) message.set_adaptive_p_weight(*state.adaptive_p_weight);
  if (state.top_p) message.set_top_p(*state.top_p);
}

absl::Status DecodeBitmask(const v1::Bitmask& message, std::vector<RowInput>& rows) {
  const size_t masks =
      message.rows().empty() ? rows.size() : static_cast<size_t>(message.rows_size());
  const size_t mask_bytes = (static_cast<size_t>(rows[0].vocab) + 31) / 32 * 4;
  if (message.words().size() != masks * mask_bytes) {
    return Invalid("bitmask.words must have ", masks * mask_bytes, " bytes for ", masks,
                   " masks of ", mask_bytes / 4, " words, got ", message.words().size());
  }
  const auto* words = reinterpret_cast<const uint8_t*>(message.words().data());
  for (size_t i = 0; i < masks; ++i) {
    const size_t row = message.rows().empty() ? i : message.rows(static_cast<int>(i));
    if (row >= rows.size()) {
      return Invalid("bitmask.rows[", i, "] must be below the ", rows.size(), " rows, got ", row);
    }
    if (rows[row].bitmask != nullptr) {
      return Invalid("bitmask.rows[", i, "] names row ", row, " again");
    }
    rows[row].bitmask = words + i * mask_bytes;
  }
  return absl::OkStatus();
}

absl::Status CheckKeyCount(const char* field, int count, size_t rows) {
  if (count <= 1 || static_cast<size_t>(count) == rows) return absl::OkStatus();
  return Invalid("keys.", field, " must have one entry per row (", rows,
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

absl::Status DecodeKeys(const v1::RowKeys& message, size_t row_count, std::vector<RowKey>& keys) {
  for (absl::Status status : {CheckKeyCount("seeds", message.seeds_size(), row_count),
                              CheckKeyCount("steps", message.steps_size(), row_count),
                              CheckKeyCount("streams", message.streams_size(), row_count)}) {
    if (!status.ok()) return status;
  }
  const auto entry = [](const auto& array, size_t row) {
    return array.Get(array.size() == 1 ? 0 : static_cast<int>(row));
  };
  std::vector<uint64_t> random_seeds(message.seeds_size() == 0 ? row_count : 0);
  FillRandom(random_seeds);
  keys.resize(row_count);
  for (size_t r = 0; r < row_count; ++r) {
    keys[r].seed = random_seeds.empty() ? entry(message.seeds(), r) : random_seeds[r];
    if (message.steps_size() != 0) keys[r].step = entry(message.steps(), r);
    if (message.streams_size() != 0) keys[r].stream = entry(message.streams(), r);
  }
  return absl::OkStatus();
}

// Whether RowDetail has something to hold.
bool WantsDetails(const OutputOptions& outputs) {
  return outputs.logprobs || outputs.top_logprobs > 0 || outputs.ranks || outputs.kept_count ||
         outputs.extremes || outputs.entropy || outputs.gumbel_softmax > 0.0;
}

void EncodeDetail(const OutputOptions& outputs, const RowResult& result, v1::RowDetail& detail) {
  if (outputs.kept_count) detail.set_kept_count(result.kept_count);
  if (outputs.extremes) {
    detail.set_max_probability(result.max_probability);
    detail.set_min_probability(result.min_probability);
  }
  if (outputs.entropy) detail.set_entropy(result.entropy);
  detail.mutable_gumbel_softmax()->Add(result.gumbel_softmax.begin(), result.gumbel_softmax.end());
  detail.mutable_ranks()->Add(result.ranks.begin(), result.ranks.end());
  detail.mutable_logprobs()->Add(result.logprobs.begin(), result.logprobs.end());
  detail.mutable_top_token_ids()->Add(result.top_token_ids.begin(), result.top_token_ids.end());
  detail.mutable_top_logprobs()->Add(result.top_logprobs.begin(), result.top_logprobs.end());
}

// `result` is null for a row that was not sampled.
void AddKeptSet(const RowResult* result, v1::KeptSets& sets) {
  if (sets.offsets().empty()) sets.add_offsets(0);
  if (result != nullptr) {
    sets.mutable_token_ids()->Add(result->kept_token_ids.begin(), result->kept_token_ids.end());
    sets.mutable_logprobs()->Add(result->kept_logprobs.begin(), result->kept_logprobs.end());
  }
  sets.add_offsets(static_cast<uint64_t>(sets.token_ids_size()));
}

void AddStatus(uint32_t row, RowCode code, const std::string& message,
               v1::SampleResponse& response) {
  v1::RowStatus& status = *response.add_row_statuses();
  status.set_row(row);
  status.set_code(static_cast<v1::RowCode>(code));
  status.set_message(message);
}

}  // namespace

absl::Status DecodeSample(const v1::SampleRequest& request, const RequestLimits& limits,
                          DecodedSample& decoded) {
  if (absl::Status status = CheckFields(request); !status.ok()) return status;
  std::vector<RowInput> rows;
  if (absl::Status status = DecodeTensor(request, limits, rows); !status.ok()) return status;
  if (absl::Status status = DecodeProfiles(request, rows, decoded); !status.ok()) return status;
  if (absl::Status status = DecodeOutputs(request, rows.size(), decoded.outputs); !status.ok()) {
    return status;
  }
  if (absl::Status status = DecodeKeys(request.keys(), rows.size(), decoded.keys); !status.ok()) {
    return status;
  }
  if (request.has_histories()) {
    absl::Status status = DecodeHistories(request.histories(), rows, decoded.histories);
    if (!status.ok()) return status;
  }
  if (absl::Status status = DecodeStates(request, rows, decoded.states); !status.ok()) {
    return status;
  }
  if (request.has_bitmask()) {
    if (absl::Status status = DecodeBitmask(request.bitmask(), rows); !status.ok()) return status;
  }
  if (decoded.outputs.kept_set) {
    if (absl::Status status = CheckKeptSets(rows); !status.ok()) return status;
  }
  if (decoded.outputs.gumbel_softmax > 0.0) {
    if (absl::Status status = CheckGumbelSoftmax(rows); !status.ok()) return status;
  }
  const bool tokens_alone = !WantsDetails(decoded.outputs) && !decoded.outputs.kept_set;
  const OutputOptions* outputs = tokens_alone ? nullptr : &decoded.outputs;
  decoded.inputs.reserve(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!decoded.row_errors.empty() && !decoded.row_errors[r].empty()) continue;
    rows[r].key = decoded.keys[r];
    rows[r].outputs = outputs;
    decoded.inputs.push_back(rows[r]);
  }
  if (decoded.inputs.empty()) return absl::InvalidArgumentError(decoded.row_errors.front());
  return absl::OkStatus();
}

void EncodeSample(const DecodedSample& decoded, absl::Span<const RowResult> results,
                  v1::SampleResponse& response) {
  response.set_spec_version(kSpecVersion);
  const bool details = WantsDetails(decoded.outputs);
  const bool states = std::any_of(decoded.profiles.begin(), decoded.profiles.end(),
                                  [](const SamplingParams& params) { return params.stateful(); });
  const RowResult* result = results.data();
  for (uint32_t row = 0; row < decoded.keys.size(); ++row) {
    const RowKey& key = decoded.keys[row];
    response.add_seeds(key.seed);
    response.add_steps(key.step);
    response.add_streams(key.stream);
    v1::RowDetail* detail = details ? response.add_details() : nullptr;
    if (detail != nullptr) detail->set_row(row);
    v1::RowState* state = states ? response.add_states() : nullptr;
    if (!decoded.row_errors.empty() && !decoded.row_errors[row].empty()) {
      response.add_token_counts(0);
      AddStatus(row, RowCode::kInvalidParams, decoded.row_errors[row], response);
      if (decoded.outputs.kept_set) AddKeptSet(nullptr, *response.mutable_kept_sets());
      continue;
    }
    response.add_token_counts(static_cast<uint32_t>(result->token_ids.size()));
    response.mutable_token_ids()->Add(result->token_ids.begin(), result->token_ids.end());
    if (result->code != RowCode::kOk) AddStatus(row, result->code, result->message, response);
    if (detail != nullptr && HasTokens(result->code)) {
      EncodeDetail(decoded.outputs, *result, *detail);
    }
    if (state != nullptr) EncodeState(result->state, *state);
    if (decoded.outputs.kept_set) AddKeptSet(result, *response.mutable_kept_sets());
    ++result;
  }
}

}  // namespace token_sampler
