#include "server/sequences/step_job.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"

namespace token_sampler {

absl::Status StepJob::FindSequences(const v1::StepSequences& message, const SequenceTable& table) {
  ids_.assign(message.sequence_ids().begin(), message.sequence_ids().end());
  if (ids_.size() != message.tensor().rows()) {
    return Invalid("step.sequence_ids must have one entry per row (", message.tensor().rows(),
                   "), got ", ids_.size());
  }
  std::vector<uint64_t> sorted = ids_;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return Invalid("step.sequence_ids must not name sequence ", *twice, " twice");
  }
  for (const uint64_t id : ids_) {
    ASSIGN_OR_RETURN(Sequence* const sequence, table.Find(id));
    if (sequence->profile().vocab != message.tensor().vocab()) {
      return Invalid("step.tensor.vocab must be the ", sequence->profile().vocab, " that sequence ",
                     id, " was opened with, got ", message.tensor().vocab());
    }
    sequences_.push_back(sequence);
  }
  return absl::OkStatus();
}

absl::Status StepJob::Decode(const v1::StepSequences& message, const SlicedBytes* data,
                             const CallContext& context, const SequenceTable& table) {
  if (!message.has_tensor()) return Invalid("step.tensor must be set");
  const InputKind kind = DecodeKind(message.input_kind());
  ASSIGN_OR_RETURN(TensorRows tensor,
                   DecodeTensor(message.tensor(), "step.tensor", kind, context, data));
  decoded_.region_rows = std::move(tensor.region);
  RETURN_IF_ERROR(FindSequences(message, table));
  if (message.has_bitmask()) RETURN_IF_ERROR(DecodeBitmask(message.bitmask(), tensor.rows));
  for (size_t row = 0; row < tensor.rows.size(); ++row) {
    Sequence& sequence = *sequences_[row];
    RETURN_IF_ERROR(NamedStatus(absl::StrCat("sequence ", ids_[row]), sequence.ReserveToken()));
    sequence.FillRow(tensor.rows[row]);
    decoded_.keys.push_back(sequence.key());
    decoded_.stateful = decoded_.stateful || sequence.profile().params.stateful();
    if (const absl::Status& valid = sequence.profile().Check(kind); !valid.ok()) {
      decoded_.row_errors.resize(tensor.rows.size());
      decoded_.row_errors[row] = std::string(valid.message());
    }
  }
  ASSIGN_OR_RETURN(decoded_.outputs, DecodeOutputs(message.outputs(), tensor.rows));
  RETURN_IF_ERROR(TakeRows(std::move(tensor.rows), context, decoded_));
  rows = std::move(decoded_.inputs);
  return absl::OkStatus();
}

void StepJob::Done(const absl::Status& sampled) {
  const absl::Status status = CallStatus(sampled, std::move(decoded_.region_rows));
  if (status.ok()) {
    EncodeSample(decoded_, results, *response_.mutable_sampled());
    const RowResult* result = results.data();
    for (size_t row = 0; row < sequences_.size(); ++row) {
      if (decoded_.HasError(row)) continue;
      const RowResult& drawn = *result++;
      if (!HasTokens(drawn.code)) continue;
      sequences_[row]->Append(drawn);
      if (sequences_[row]->Finished()) response_.add_finished(ids_[row]);
    }
  }
  finish_(status);
}

}  // namespace token_sampler
