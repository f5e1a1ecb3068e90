#include "server/codec/request_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/wire_enums.h"

namespace token_sampler {
namespace {

// Makes the rows of the tensor or of its candidates.
absl::StatusOr<std::vector<RowInput>> DecodeRows(const v1::SampleRequest& request,
                                                 const CallContext& context,
                                                 const SlicedBytes* data, DecodedSample& decoded) {
  if (!request.has_tensor()) return Invalid("tensor must be set");
  const InputKind kind = DecodeKind(request.input_kind());
  if (request.tensor().has_candidates()) {
    return DecodeCandidates(request.tensor(), kind, context, decoded.candidates);
  }
  ASSIGN_OR_RETURN(TensorRows tensor,
                   DecodeTensor(request.tensor(), "tensor", kind, context, data));
  decoded.region_rows = std::move(tensor.region);
  return std::move(tensor.rows);
}

// Gives each row its profile, and an entry in row_errors if the profile's values are out of range.
absl::Status GiveParams(const v1::SampleRequest& request, std::vector<RowInput>& rows,
                        DecodedSample& decoded) {
  const Units units = {"row", rows.size()};
  Profiles& profiles = decoded.profiles;
  ASSIGN_OR_RETURN(profiles,
                   DecodeProfiles(request.params(), request.row_params(), "row_params", units));
  const RowInput& any = rows.front();  // all have one kind and one vocab
  decoded.row_errors = CheckProfiles(profiles, units, [&](uint32_t index) -> absl::Status {
    const std::string name = absl::StrCat("params[", index, "]");
    SamplingParams& params = profiles.params[index];
    RETURN_IF_ERROR(ValidateParams(params, any.kind, any.vocab, {.profile = name}));
    ShortenLists(any.vocab, params);
    return absl::OkStatus();
  });
  uint64_t draws = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    rows[r].params = &profiles.params[profiles.of_unit[r]];
    if (decoded.HasError(r)) continue;
    draws += rows[r].params->num_samples;
    decoded.stateful = decoded.stateful || rows[r].params->stateful();
  }
  if (draws > kMaxValuesPerCall) {
    return Invalid("num_samples of all rows together must be at most ", kMaxValuesPerCall, ", got ",
                   draws);
  }
  if (!request.tensor().has_candidates()) return absl::OkStatus();
  return CheckCandidateRequest(request, profiles.params);
}

// Checks that the kept sets of all rows fit into a response.
absl::Status CheckKeptSets(const std::vector<RowInput>& rows) {
  uint64_t most = 0;
  for (const RowInput& row : rows) most += SizeOf(row).most_kept;
  if (most <= kMaxValuesPerCall) return absl::OkStatus();
  return Invalid("outputs.kept_set must hold at most ", kMaxValuesPerCall, " tokens, could hold ",
                 most, ": set top_k, or send fewer rows");
}

// Checks the size of relaxed vectors, which have vocab entries for each draw.
absl::Status CheckGumbelSoftmax(const std::vector<RowInput>& rows) {
  uint64_t values = 0;
  for (const RowInput& row : rows) {
    values += uint64_t{row.params->num_samples} * static_cast<uint64_t>(row.vocab);
  }
  if (values <= kMaxValuesPerCall) return absl::OkStatus();
  return Invalid("outputs.gumbel_softmax must hold at most ", kMaxValuesPerCall,
                 " values, would hold ", values, ": draw fewer tokens, or send fewer rows");
}

// Gives each row its history, or an entry in row_errors if its parameters need one that was not
// sent.
absl::Status GiveHistories(const v1::SampleRequest& request, std::vector<RowInput>& rows,
                           DecodedSample& decoded) {
  const v1::Histories* sent = request.has_histories() ? &request.histories() : nullptr;
  if (sent != nullptr) {
    ASSIGN_OR_RETURN(decoded.histories,
                     DecodeHistories(*sent, {"row", rows.size()}, rows.front().vocab));
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    if (sent != nullptr) rows[r].history = &decoded.histories.of_unit[r];
    if (decoded.HasError(r)) continue;
    const absl::Status status =
        CheckHistorySent(*rows[r].params, decoded.profiles.of_unit[r], decoded.keys[r].step, sent);
    if (status.ok()) continue;
    decoded.row_errors.resize(rows.size());
    decoded.row_errors[r] = absl::StrCat("row ", r, ": ", status.message());
  }
  return absl::OkStatus();
}

absl::Status GiveStates(const v1::SampleRequest& request, std::vector<RowInput>& rows,
                        DecodedSample& decoded) {
  if (request.states().empty()) return absl::OkStatus();
  if (static_cast<size_t>(request.states_size()) != rows.size()) {
    return Invalid("states must have one entry per row (", rows.size(), ") or none, got ",
                   request.states_size());
  }
  decoded.states.resize(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    decoded.states[r] = DecodeState(request.states(static_cast<int>(r)));
    rows[r].state = &decoded.states[r];
  }
  return absl::OkStatus();
}

// Computes the size of the answer to a call of `all_rows` rows, of which `rows` can be sampled.
// InvalidArgument if it is above the limit.
absl::StatusOr<AnswerSize> MeasureAnswer(size_t all_rows, const std::vector<RowInput>& rows,
                                         const OutputOptions& outputs,
                                         const RequestLimits& limits) {
  // Token ids, ranks and floats take at most 4 bytes each, on the wire and in memory.
  constexpr uint64_t kValueBytes = 4;
  // Results grow by doubling, and so do the arrays of the message to which they are copied.
  constexpr uint64_t kCopies = 4;
  // For the rest of a row: its key, its state, and its message if it fails.
  constexpr uint64_t kRowMessageBytes = 256;
  constexpr uint64_t kRowMemoryBytes = 1536;
  uint64_t values = 0;
  const bool tokens_only = TokensOnly(outputs);
  for (const RowInput& row : rows) {
    values += tokens_only ? row.params->num_samples : MostValues(outputs, SizeOf(row));
  }
  const AnswerSize answer = {.message = all_rows * kRowMessageBytes + values * kValueBytes,
                             .memory = all_rows * kRowMemoryBytes + values * kValueBytes * kCopies};
  if (answer.message <= limits.max_response_bytes) return answer;
  return Invalid("the answer must have at most ", limits.max_response_bytes,
                 " bytes (--max-response-bytes), could have ", answer.message,
                 ": ask for fewer outputs, draw fewer tokens, or send fewer rows");
}

void EncodeState(const RowState& state, v1::RowState& message) {
  if (state.mirostat_mu) message.set_mirostat_mu(*state.mirostat_mu);
  if (state.adaptive_p_sum) message.set_adaptive_p_sum(*state.adaptive_p_sum);
  if (state.adaptive_p_weight) message.set_adaptive_p_weight(*state.adaptive_p_weight);
  if (state.top_p) message.set_top_p(*state.top_p);
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

// Adds a row's kept set; an empty one if `result` is null, for a row that was not sampled.
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
  status.set_code(ToWire(code));
  status.set_message(message);
}

}  // namespace

void DecodedSample::Release() {
  candidates = {};
  profiles = {};
  histories = {};
  states = {};
  inputs = {};
}

absl::StatusOr<OutputOptions> DecodeOutputs(const v1::OutputOptions& message,
                                            const std::vector<RowInput>& rows) {
  OutputOptions outputs;
  const auto vocab = static_cast<uint64_t>(rows[0].vocab);
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
  if (outputs.top_logprobs > vocab) {
    return Invalid("outputs.top_logprobs must be at most the ", Counted(vocab, "token"),
                   " of a row, got ", outputs.top_logprobs);
  }
  if (rows.size() * outputs.top_logprobs > kMaxValuesPerCall) {
    return Invalid("outputs.top_logprobs of all rows together must be at most ", kMaxValuesPerCall,
                   ", got ", rows.size() * outputs.top_logprobs);
  }
  if (outputs.kept_set) RETURN_IF_ERROR(CheckKeptSets(rows));
  if (outputs.gumbel_softmax > 0.0) RETURN_IF_ERROR(CheckGumbelSoftmax(rows));
  return outputs;
}

absl::Status TakeRows(std::vector<RowInput> rows, const CallContext& context,
                      DecodedSample& decoded) {
  const OutputOptions* outputs = TokensOnly(decoded.outputs) ? nullptr : &decoded.outputs;
  const size_t all_rows = rows.size();
  size_t valid = 0;
  for (size_t r = 0; r < all_rows; ++r) {
    if (decoded.HasError(r)) continue;
    RowInput& row = rows[valid++];
    row = rows[r];
    row.key = decoded.keys[r];
    row.outputs = outputs;
    ChooseDraw(static_cast<uint32_t>(r), decoded.candidates, row);
  }
  if (valid == 0) return absl::InvalidArgumentError(decoded.row_errors.front());
  rows.resize(valid);
  decoded.inputs = std::move(rows);
  ASSIGN_OR_RETURN(decoded.answer,
                   MeasureAnswer(all_rows, decoded.inputs, decoded.outputs, context.limits));
  return absl::OkStatus();
}

absl::Status DecodeSample(const v1::SampleRequest& request, const CallContext& context,
                          DecodedSample& decoded, const SlicedBytes* data) {
  ASSIGN_OR_RETURN(std::vector<RowInput> rows, DecodeRows(request, context, data, decoded));
  RETURN_IF_ERROR(GiveParams(request, rows, decoded));
  ASSIGN_OR_RETURN(decoded.outputs, DecodeOutputs(request.outputs(), rows));
  ASSIGN_OR_RETURN(decoded.keys, DecodeKeys(request.keys(), {"row", rows.size()}));
  RETURN_IF_ERROR(GiveHistories(request, rows, decoded));
  RETURN_IF_ERROR(GiveStates(request, rows, decoded));
  if (request.has_bitmask()) RETURN_IF_ERROR(DecodeBitmask(request.bitmask(), rows));
  return TakeRows(std::move(rows), context, decoded);
}

absl::Status CallStatus(const absl::Status& status, std::shared_ptr<const RegionRows> region_rows) {
  return status.ok() && region_rows != nullptr ? region_rows->Check() : status;
}

void EncodeSample(const DecodedSample& decoded, absl::Span<const RowResult> results,
                  v1::SampleResponse& response) {
  response.set_spec_version(kSpecVersion);
  const std::vector<uint32_t>& skipped_ids = decoded.histories.skipped_ids;
  response.mutable_skipped_ids()->Add(skipped_ids.begin(), skipped_ids.end());
  const bool details = WantsDetails(decoded.outputs);
  const RowResult* result = results.data();
  for (uint32_t row = 0; row < decoded.keys.size(); ++row) {
    const RowKey& key = decoded.keys[row];
    response.add_seeds(key.seed);
    response.add_steps(key.step);
    response.add_streams(key.stream);
    v1::RowDetail* detail = details ? response.add_details() : nullptr;
    if (detail != nullptr) detail->set_row(row);
    v1::RowState* state = decoded.stateful ? response.add_states() : nullptr;
    if (decoded.HasError(row)) {
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
