#include "server/kserve/translation/infer_response.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/sampler_model.h"

namespace token_sampler {
namespace {

constexpr int32_t kNoToken = -1;
constexpr float kNoFloat = std::numeric_limits<float>::quiet_NaN();
constexpr double kNoDouble = std::numeric_limits<double>::quiet_NaN();

template <typename Element>
void Append(Element element, std::string& data) {
  data.append(reinterpret_cast<const char*>(&element), sizeof(element));
}

// Appends the elements of [first, last), padded with `padding` to `width` elements.
template <typename Element, typename Iterator>
void AppendRow(Iterator first, Iterator last, int64_t width, Element padding, std::string& data) {
  for (int64_t column = 0; column < width; ++column) {
    Append(first == last ? padding : static_cast<Element>(*first), data);
    if (first != last) ++first;
  }
}

// The values of one row for each output.
class RowView {
 public:
  RowView(const v1::SampleResponse& sampled, const v1::RowStatus* status, int row, int first_token)
      : sampled_(sampled), status_(status), row_(row), first_token_(first_token) {}

  void AppendTo(const ModelOutputField& output, int64_t width, std::string& data) const {
    const absl::string_view name = output.name;
    if (name == "token_ids") {
      const auto first = sampled_.token_ids().begin() + first_token_;
      const auto last = first + static_cast<int>(sampled_.token_counts(row_));
      AppendRow<int32_t>(first, last, width, kNoToken, data);
    } else if (name == "status") {
      Append<int32_t>(status_ == nullptr ? v1::ROW_CODE_OK : status_->code(), data);
    } else if (name == "message") {
      const std::string message = status_ == nullptr ? "" : status_->message();
      Append(static_cast<uint32_t>(message.size()), data);
      data.append(message);
    } else if (name == "seed") {
      Append<uint64_t>(sampled_.seeds(row_), data);
    } else if (name == "step") {
      Append<uint64_t>(sampled_.steps(row_), data);
    } else if (name == "stream") {
      Append<uint32_t>(sampled_.streams(row_), data);
    } else if (name == "skipped_ids") {
      Append<uint32_t>(sampled_.skipped_ids_size() > row_ ? sampled_.skipped_ids(row_) : 0, data);
    } else if (output.width == OutputWidth::kKept) {
      AppendKept(name, width, data);
    } else if (sampled_.details_size() > row_ && !output.option.empty()) {
      AppendDetail(sampled_.details(row_), name, width, data);
    } else {
      AppendState(name, data);
    }
  }

 private:
  void AppendKept(absl::string_view name, int64_t width, std::string& data) const {
    const v1::KeptSets& sets = sampled_.kept_sets();
    const auto first = static_cast<int>(sets.offsets(row_));
    const auto last = static_cast<int>(sets.offsets(row_ + 1));
    if (name == "kept_token_ids") {
      const auto ids = sets.token_ids().begin();
      AppendRow<int32_t>(ids + first, ids + last, width, kNoToken, data);
    } else {
      const auto logprobs = sets.logprobs().begin();
      AppendRow<float>(logprobs + first, logprobs + last, width, kNoFloat, data);
    }
  }

  static void AppendDetail(const v1::RowDetail& detail, absl::string_view name, int64_t width,
                           std::string& data) {
    if (name == "logprobs") {
      AppendRow<float>(detail.logprobs().begin(), detail.logprobs().end(), width, kNoFloat, data);
    } else if (name == "ranks") {
      AppendRow<uint32_t>(detail.ranks().begin(), detail.ranks().end(), width, 0, data);
    } else if (name == "top_token_ids") {
      AppendRow<int32_t>(detail.top_token_ids().begin(), detail.top_token_ids().end(), width,
                         kNoToken, data);
    } else if (name == "top_logprobs") {
      AppendRow<float>(detail.top_logprobs().begin(), detail.top_logprobs().end(), width, kNoFloat,
                       data);
    } else if (name == "gumbel_softmax") {
      AppendRow<float>(detail.gumbel_softmax().begin(), detail.gumbel_softmax().end(), width,
                       kNoFloat, data);
    } else if (name == "kept_count") {
      Append<uint32_t>(detail.kept_count(), data);
    } else if (name == "entropy") {
      Append(detail.has_entropy() ? detail.entropy() : kNoDouble, data);
    } else if (name == "max_probability") {
      Append(detail.has_max_probability() ? detail.max_probability() : kNoDouble, data);
    } else if (name == "min_probability") {
      Append(detail.has_min_probability() ? detail.min_probability() : kNoDouble, data);
    }
  }

  void AppendState(absl::string_view name, std::string& data) const {
    static const v1::RowState* const kNone = new v1::RowState;
    const v1::RowState& state = sampled_.states_size() > row_ ? sampled_.states(row_) : *kNone;
    if (name == "state.mirostat_mu") {
      Append(state.has_mirostat_mu() ? state.mirostat_mu() : kNoDouble, data);
    } else if (name == "state.adaptive_p_sum") {
      Append(state.has_adaptive_p_sum() ? state.adaptive_p_sum() : kNoDouble, data);
    } else if (name == "state.adaptive_p_weight") {
      Append(state.has_adaptive_p_weight() ? state.adaptive_p_weight() : kNoDouble, data);
    } else if (name == "state.top_p") {
      Append(state.has_top_p() ? state.top_p() : kNoDouble, data);
    }
  }

  const v1::SampleResponse& sampled_;
  const v1::RowStatus* status_;  // null: OK
  int row_;
  int first_token_;
};

std::vector<RowView> ViewRows(const v1::SampleResponse& sampled) {
  std::vector<RowView> rows;
  int token = 0;
  int status = 0;
  for (int row = 0; row < sampled.token_counts_size(); ++row) {
    const bool listed = status < sampled.row_statuses_size() &&
                        sampled.row_statuses(status).row() == static_cast<uint32_t>(row);
    rows.emplace_back(sampled, listed ? &sampled.row_statuses(status) : nullptr, row, token);
    token += static_cast<int>(sampled.token_counts(row));
    if (listed) ++status;
  }
  return rows;
}

int64_t MostKept(const v1::KeptSets& sets) {
  uint64_t most = 0;
  for (int row = 0; row + 1 < sets.offsets_size(); ++row) {
    most = std::max(most, sets.offsets(row + 1) - sets.offsets(row));
  }
  return static_cast<int64_t>(most);
}

int64_t Width(const InferCall& call, uint32_t draws, const v1::SampleResponse& sampled,
              OutputWidth width) {
  switch (width) {
    case OutputWidth::kOne:
      return 1;
    case OutputWidth::kDraws:
      return draws;
    case OutputWidth::kTopLogprobs:
      return call.request.outputs().top_logprobs();
    case OutputWidth::kKept:
      return MostKept(sampled.kept_sets());
    case OutputWidth::kRelaxed:
      break;
  }
  return int64_t{draws} * call.request.tensor().vocab();
}

// Writes an output to its place in shared memory, and sets its parameters to that place.
absl::Status WriteShared(const InferOutput& wanted, absl::string_view data,
                         inference::ModelInferResponse::InferOutputTensor& output) {
  const std::string name = absl::StrCat("outputs.", output.name());
  const SharedPlace& place = *wanted.place;
  if (data.size() > place.byte_size) {
    return Invalid(name, ".parameters.shared_memory_byte_size must be at least the ", data.size(),
                   " bytes of the output, got ", place.byte_size);
  }
  const absl::Status status = wanted.region->Write(place.offset, data);
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  }
  WriteSharedPlace({place.region, place.offset, data.size()}, *output.mutable_parameters());
  return absl::OkStatus();
}

}  // namespace

absl::Status TranslateResponse(const InferCall& call, uint32_t draws,
                               const v1::SampleResponse& sampled,
                               inference::ModelInferResponse& response) {
  response.set_model_name(kModelName);
  response.set_model_version(kModelVersion);
  response.set_id(call.id);
  const std::vector<RowView> rows = ViewRows(sampled);
  for (const InferOutput& wanted : call.outputs) {
    const ModelOutputField& field = *wanted.field;
    const int64_t width = Width(call, draws, sampled, field.width);
    auto& output = *response.add_outputs();
    output.set_name(std::string(field.name));
    output.set_datatype(std::string(field.datatype));
    output.add_shape(static_cast<int64_t>(rows.size()));
    output.add_shape(width);
    // Clients expect an entry per output; that of an output in shared memory is empty.
    std::string& contents = *response.add_raw_output_contents();
    std::string data;
    for (const RowView& row : rows) row.AppendTo(field, width, data);
    if (!wanted.place.has_value()) {
      contents = std::move(data);
    } else if (absl::Status status = WriteShared(wanted, data, output); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
