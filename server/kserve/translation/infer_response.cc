#include "server/kserve/translation/infer_response.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/model_outputs.h"
#include "server/kserve/sampler_model.h"

namespace token_sampler {
namespace {

std::vector<AnsweredRow> RowsOf(const v1::SampleResponse& sampled) {
  std::vector<AnsweredRow> rows;
  int token = 0;
  int status = 0;
  for (int row = 0; row < sampled.token_counts_size(); ++row) {
    const bool listed = status < sampled.row_statuses_size() &&
                        sampled.row_statuses(status).row() == static_cast<uint32_t>(row);
    rows.push_back({sampled, listed ? &sampled.row_statuses(status) : nullptr, row, token});
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
  RETURN_IF_ERROR(NamedStatus(name, wanted.region->Write(place.offset, data)));
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
  const std::vector<AnsweredRow> rows = RowsOf(sampled);
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
    for (const AnsweredRow& row : rows) field.append(row, width, data);
    if (!wanted.place.has_value()) {
      contents = std::move(data);
    } else {
      RETURN_IF_ERROR(WriteShared(wanted, data, output));
    }
  }
  return absl::OkStatus();
}

}  // namespace token_sampler
