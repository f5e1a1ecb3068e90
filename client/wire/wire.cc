#include "client/wire/wire.h"

#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "client/wire/params_wire.h"
#include "client/wire/tensor_wire.h"
#include "client/wire/wire_enums.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

// The request without its tensor.
v1::SampleRequest ToProto(const SampleRequest& request) {
  v1::SampleRequest proto;
  if (request.kind == InputKind::kWeights) proto.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  for (const SamplingParams& params : request.params) ToProto(params, proto.add_params());
  proto.mutable_row_params()->Add(request.row_params.begin(), request.row_params.end());
  ToProto(request.keys, proto.mutable_keys());
  if (!request.histories.empty()) {
    ToProto(request.histories, request.skip_unknown_ids, proto.mutable_histories());
  }
  for (const RowState& state : request.states) ToProto(state, proto.add_states());
  if (!request.bitmask.empty()) proto.mutable_bitmask()->set_words(request.bitmask);
  ToProto(request.outputs, proto.mutable_outputs());
  return proto;
}

// Checks that the packed arrays of the response have consistent lengths.
absl::Status CheckLengths(const v1::SampleResponse& response, int64_t rows) {
  const auto& counts = response.token_counts();
  if (counts.size() != rows) {
    return Malformed(absl::StrCat("token_counts has ", Counted(counts.size(), "entry", "entries"),
                                  " for ", Counted(rows, "row")));
  }
  const uint64_t tokens = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  if (tokens != static_cast<uint64_t>(response.token_ids_size())) {
    return Malformed(absl::StrCat("token_ids has ",
                                  Counted(response.token_ids_size(), "entry", "entries"), ", ",
                                  "token_counts add up to ", tokens));
  }
  if (response.seeds_size() != rows || response.steps_size() != rows ||
      response.streams_size() != rows) {
    return Malformed(absl::StrCat("seeds, steps and streams have ", response.seeds_size(), ", ",
                                  response.steps_size(), " and ", response.streams_size(),
                                  " entries for ", Counted(rows, "row")));
  }
  if (response.skipped_ids_size() != 0 && response.skipped_ids_size() != rows) {
    return Malformed(absl::StrCat("skipped_ids has ", response.skipped_ids_size(), " entries for ",
                                  rows, " rows"));
  }
  if (response.details_size() != 0 && response.details_size() != rows) {
    return Malformed(absl::StrCat("details has ",
                                  Counted(response.details_size(), "entry", "entries"), " for ",
                                  Counted(rows, "row")));
  }
  return absl::OkStatus();
}

absl::Status DecodeDetail(const v1::RowDetail& detail, RowResult& row) {
  if (detail.logprobs_size() != 0 &&
      static_cast<size_t>(detail.logprobs_size()) != row.token_ids.size()) {
    return Malformed(absl::StrCat("logprobs has ",
                                  Counted(detail.logprobs_size(), "entry", "entries"), " for ",
                                  Counted(row.token_ids.size(), "token")));
  }
  if (detail.top_token_ids_size() != detail.top_logprobs_size()) {
    return Malformed("top_token_ids and top_logprobs differ in length");
  }
  row.logprobs.assign(detail.logprobs().begin(), detail.logprobs().end());
  for (int i = 0; i < detail.top_token_ids_size(); ++i) {
    row.top_logprobs.push_back({detail.top_token_ids(i), detail.top_logprobs(i)});
  }
  row.ranks.assign(detail.ranks().begin(), detail.ranks().end());
  if (detail.has_kept_count()) row.kept_count = detail.kept_count();
  if (detail.has_entropy()) row.entropy = detail.entropy();
  if (detail.has_max_probability()) row.max_probability = detail.max_probability();
  if (detail.has_min_probability()) row.min_probability = detail.min_probability();
  row.gumbel_softmax.assign(detail.gumbel_softmax().begin(), detail.gumbel_softmax().end());
  return absl::OkStatus();
}

absl::Status DecodeKeptSets(const v1::KeptSets& sets, std::vector<RowResult>& rows) {
  const auto tokens = static_cast<uint64_t>(sets.token_ids_size());
  if (static_cast<size_t>(sets.offsets_size()) != rows.size() + 1 ||
      sets.token_ids_size() != sets.logprobs_size()) {
    return Malformed("kept_sets has other lengths than its rows and tokens");
  }
  for (int r = 0; r + 1 < sets.offsets_size(); ++r) {
    if (sets.offsets(r) > sets.offsets(r + 1) || sets.offsets(r + 1) > tokens) {
      return Malformed("kept_sets.offsets must ascend to the number of tokens");
    }
    for (auto i = static_cast<int>(sets.offsets(r)); i < static_cast<int>(sets.offsets(r + 1));
         ++i) {
      rows[static_cast<size_t>(r)].kept_set.push_back({sets.token_ids(i), sets.logprobs(i)});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<grpc::ByteBuffer> EncodeSampleRequest(const SampleRequest& request) {
  RETURN_IF_ERROR(CheckMatrix(request.matrix, "matrix"));
  RETURN_IF_ERROR(CheckHistories(request.histories, request.skip_unknown_ids));
  return EncodeWithTensors({{v1::SampleRequest::kTensorFieldNumber, &request.matrix}},
                           ToProto(request));
}

absl::StatusOr<SampleResult> DecodeSampleResponse(const v1::SampleResponse& response,
                                                  int64_t rows) {
  RETURN_IF_ERROR(CheckLengths(response, rows));
  SampleResult result;
  result.spec_version = response.spec_version();
  result.rows.resize(static_cast<size_t>(rows));
  auto next_token = response.token_ids().begin();
  for (int r = 0; r < response.token_counts_size(); ++r) {
    RowResult& row = result.rows[static_cast<size_t>(r)];
    const auto end = next_token + static_cast<int>(response.token_counts(r));
    row.token_ids.assign(next_token, end);
    next_token = end;
    row.seed = response.seeds(r);
    row.step = response.steps(r);
    row.stream = response.streams(r);
    if (r < response.skipped_ids_size()) row.skipped_ids = response.skipped_ids(r);
    if (r < response.states_size()) row.state = FromProto(response.states(r));
    if (response.details_size() == 0) continue;
    RETURN_IF_ERROR(DecodeDetail(response.details(r), row));
  }
  if (response.has_kept_sets()) {
    RETURN_IF_ERROR(DecodeKeptSets(response.kept_sets(), result.rows));
  }
  for (const v1::RowStatus& status : response.row_statuses()) {
    if (status.row() >= result.rows.size()) {
      return Malformed(absl::StrCat("row_statuses names row ", status.row(), " of ", rows));
    }
    RowResult& row = result.rows[status.row()];
    row.code = FromWire(status.code());
    row.message = status.message();
  }
  for (size_t r = 0; r < result.rows.size(); ++r) {
    if (result.rows[r].failed() != result.rows[r].token_ids.empty()) {
      return Malformed(absl::StrCat("row ", r, " has status ", RowCodeName(result.rows[r].code),
                                    " and ", result.rows[r].token_ids.size(), " tokens"));
    }
  }
  return result;
}

absl::StatusOr<v1::DescribeRequest> EncodeDescribeRequest(const SampleRequest& request,
                                                          uint32_t top_n) {
  const Matrix& matrix = request.matrix;
  RETURN_IF_ERROR(CheckMatrix(matrix, "matrix"));
  RETURN_IF_ERROR(CheckHistories(request.histories, request.skip_unknown_ids));
  if (matrix.candidates.has_value()) {
    return absl::InvalidArgumentError(
        "matrix.candidates must not be set: only Sample takes candidates");
  }
  v1::DescribeRequest proto;
  *proto.mutable_request() = ToProto(request);
  proto.mutable_request()->clear_outputs();
  v1::Tensor& tensor = *proto.mutable_request()->mutable_tensor();
  tensor.set_dtype(ToProto(matrix.dtype));
  tensor.set_rows(static_cast<uint32_t>(matrix.rows));
  tensor.set_vocab(static_cast<uint32_t>(matrix.vocab));
  if (matrix.region.has_value()) {
    *tensor.mutable_region() = ToProto(*matrix.region);
  } else {
    tensor.set_data(matrix.values, matrix.byte_size);
  }
  proto.set_top_n(top_n);
  return proto;
}

absl::StatusOr<Description> DecodeDescription(const v1::DescribeResponse& response) {
  Description description;
  if (!response.skipped_ids().empty()) description.skipped_ids = response.skipped_ids(0);
  for (const v1::RowStatus& status : response.row_statuses()) {
    description.code = FromWire(status.code());
    description.message = status.message();
  }
  for (const v1::DescribeResponse::Distribution& message : response.distributions()) {
    if (message.top_token_ids_size() != message.top_probabilities_size()) {
      return Malformed("top_token_ids and top_probabilities differ in length");
    }
    StageView& view = description.stages.emplace_back();
    view.stage = message.stage();
    view.kept_count = message.kept_count();
    view.entropy = message.entropy();
    view.max_probability = message.max_probability();
    view.min_probability = message.min_probability();
    view.removed_mass = message.removed_mass();
    for (int i = 0; i < message.top_token_ids_size(); ++i) {
      view.top_logprobs.push_back(
          {message.top_token_ids(i), static_cast<float>(std::log(message.top_probabilities(i)))});
    }
  }
  return description;
}

ServerInfo DecodeServerInfo(const v1::GetServerInfoResponse& response) {
  ServerInfo info;
  info.version = response.version();
  info.spec_version = response.spec_version();
  info.backend = response.backend();
  info.device = response.device();
  info.max_rows = response.max_rows();
  info.max_vocab = response.max_vocab();
  info.max_message_bytes = response.max_message_bytes();
  info.max_response_bytes = response.max_response_bytes();
  info.memory_budget_bytes = response.memory_budget_bytes();
  info.max_num_samples = response.max_num_samples();
  info.features.assign(response.features().begin(), response.features().end());
  for (const auto& fallback : response.fallbacks()) {
    info.fallbacks.push_back({fallback.reason(), fallback.rows()});
  }
  return info;
}

}  // namespace token_sampler::client
