#include "server/sequences/step_job.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
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
    const absl::StatusOr<Sequence*> sequence = table.Find(id);
    if (!sequence.ok()) return sequence.status();
    if ((*sequence)->profile().vocab != message.tensor().vocab()) {
      return Invalid("step.tensor.vocab must be the ", (*sequence)->profile().vocab,
                     " that sequence ", id, " was opened with, got ", message.tensor().vocab());
    }
    sequences_.push_back(*sequence);
  }
  return absl::OkStatus();
}

absl::Status StepJob::Decode(const v1::StepSequences& message, const SlicedBytes* data,
                             const RequestLimits& limits, const SequenceTable& table) {
  if (!message.has_tensor()) return Invalid("step.tensor must be set");
  const InputKind kind = DecodeKind(message.input_kind());
  std::vector<RowInput> inputs;
  absl::Status status = DecodeTensor(message.tensor(), "step.tensor", kind, limits, inputs,
                                     decoded_.region_rows, data);
  if (status.ok()) status = FindSequences(message, table);
  if (!status.ok()) return status;
  if (message.has_bitmask()) {
    if (status = DecodeBitmask(message.bitmask(), inputs); !status.ok()) return status;
  }
  for (size_t row = 0; row < inputs.size(); ++row) {
    Sequence& sequence = *sequences_[row];
    if (status = sequence.ReserveToken(); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("sequence ", ids_[row], ": ", status.message()));
    }
    sequence.FillRow(inputs[row]);
    decoded_.keys.push_back(sequence.key());
    decoded_.stateful = decoded_.stateful || sequence.profile().params.stateful();
  }
  if (status = DecodeOutputs(message.outputs(), inputs, decoded_.outputs); !status.ok()) {
    return status;
  }
  const OutputOptions* outputs = TokensOnly(decoded_.outputs) ? nullptr : &decoded_.outputs;
  for (size_t row = 0; row < inputs.size(); ++row) {
    if (const absl::Status& valid = sequences_[row]->profile().Check(kind); !valid.ok()) {
      decoded_.row_errors.resize(inputs.size());
      decoded_.row_errors[row] = std::string(valid.message());
      continue;
    }
    inputs[row].outputs = outputs;
    rows.push_back(inputs[row]);
    sampled_rows_.push_back(row);
  }
  if (rows.empty()) return Invalid(decoded_.row_errors[0]);
  return MeasureAnswer(inputs.size(), rows, decoded_.outputs, limits, decoded_.answer);
}

void StepJob::Done(const absl::Status& sampled) {
  const absl::Status status = CallStatus(sampled, std::move(decoded_.region_rows));
  if (status.ok()) {
    EncodeSample(decoded_, results, *response_.mutable_sampled());
    for (size_t i = 0; i < results.size(); ++i) {
      if (!HasTokens(results[i].code)) continue;
      Sequence& sequence = *sequences_[sampled_rows_[i]];
      sequence.Append(results[i]);
      if (sequence.Finished()) response_.add_finished(ids_[sampled_rows_[i]]);
    }
  }
  finish_(status);
}

}  // namespace token_sampler
