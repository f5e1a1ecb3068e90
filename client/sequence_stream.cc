#include "token_sampler/sequence_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/counted.h"
#include "client/wire/params_wire.h"
#include "client/wire/stream_call.h"
#include "client/wire/tensor_wire.h"
#include "client/wire/wire.h"
#include "sampler/status_macros.h"

namespace token_sampler::client {
namespace {

v1::SampleStreamRequest ToProto(const OpenRequest& request) {
  v1::SampleStreamRequest proto;
  v1::OpenSequences& open = *proto.mutable_open();
  open.set_vocab(request.vocab);
  if (request.skip_unknown_ids) open.set_skip_unknown_ids(true);
  for (const SamplingParams& params : request.params) ToProto(params, open.add_params());
  for (const SequenceStart& start : request.sequences) {
    v1::OpenSequences::Sequence& sequence = *open.add_sequences();
    sequence.set_sequence_id(start.sequence_id);
    sequence.set_params(start.params);
    if (start.seed) sequence.set_seed(*start.seed);
    sequence.set_stream(start.stream);
    if (start.step) sequence.set_step(*start.step);
    sequence.mutable_prompt_ids()->Add(start.prompt_ids.begin(), start.prompt_ids.end());
    sequence.mutable_output_ids()->Add(start.output_ids.begin(), start.output_ids.end());
    ToProto(start.state, sequence.mutable_state());
  }
  return proto;
}

absl::StatusOr<grpc::ByteBuffer> EncodeStep(const StepRequest& request) {
  RETURN_IF_ERROR(CheckMatrix(request.matrix, "matrix"));
  v1::StepSequences step;
  step.mutable_sequence_ids()->Add(request.sequence_ids.begin(), request.sequence_ids.end());
  if (request.kind == InputKind::kWeights) step.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  if (!request.bitmask.empty()) step.mutable_bitmask()->set_words(request.bitmask);
  ToProto(request.outputs, step.mutable_outputs());
  ASSIGN_OR_RETURN(
      grpc::ByteBuffer encoded,
      EncodeWithTensors({{v1::StepSequences::kTensorFieldNumber, &request.matrix}}, step));
  return WrapInField(v1::SampleStreamRequest::kStepFieldNumber, encoded);
}

// The answer, or the error that it reports.
absl::StatusOr<v1::SampleStreamResponse> Call(StreamCall& call, const grpc::ByteBuffer& request) {
  absl::StatusOr<v1::SampleStreamResponse> response = call.Exchange(request);
  if (!response.ok() || response->status_code() == 0) return response;
  return absl::Status(static_cast<absl::StatusCode>(response->status_code()),
                      response->status_message());
}

absl::StatusOr<v1::SampleStreamResponse> Call(StreamCall& call,
                                              const v1::SampleStreamRequest& request) {
  const grpc::Slice slice(request.SerializeAsString());
  return Call(call, grpc::ByteBuffer(&slice, 1));
}

}  // namespace

SequenceStream::SequenceStream(std::unique_ptr<StreamCall> call) : call_(std::move(call)) {}
SequenceStream::SequenceStream(SequenceStream&&) noexcept = default;
SequenceStream& SequenceStream::operator=(SequenceStream&&) noexcept = default;
SequenceStream::~SequenceStream() = default;

absl::StatusOr<OpenResult> SequenceStream::Open(const OpenRequest& request) {
  ASSIGN_OR_RETURN(v1::SampleStreamResponse response, Call(*call_, ToProto(request)));
  const size_t sequences = request.sequences.size();
  const size_t skipped = request.skip_unknown_ids ? sequences : 0;
  if (static_cast<size_t>(response.seeds_size()) != sequences ||
      static_cast<size_t>(response.skipped_ids_size()) != skipped) {
    return Malformed(absl::StrCat("seeds and skipped_ids have ", response.seeds_size(), " and ",
                                  response.skipped_ids_size(), " entries for ",
                                  Counted(sequences, "sequence")));
  }
  return OpenResult{{response.seeds().begin(), response.seeds().end()},
                    {response.skipped_ids().begin(), response.skipped_ids().end()}};
}

absl::StatusOr<StepResult> SequenceStream::Step(const StepRequest& request) {
  ASSIGN_OR_RETURN(grpc::ByteBuffer message, EncodeStep(request));
  ASSIGN_OR_RETURN(v1::SampleStreamResponse response, Call(*call_, message));
  ASSIGN_OR_RETURN(SampleResult sampled,
                   DecodeSampleResponse(response.sampled(), request.matrix.rows));
  return StepResult{std::move(sampled), {response.finished().begin(), response.finished().end()}};
}

absl::Status SequenceStream::Fork(uint64_t sequence_id, uint64_t new_sequence_id,
                                  std::optional<uint32_t> stream) {
  v1::SampleStreamRequest request;
  request.mutable_fork()->set_sequence_id(sequence_id);
  request.mutable_fork()->set_new_sequence_id(new_sequence_id);
  if (stream) request.mutable_fork()->set_new_stream(*stream);
  return Call(*call_, request).status();
}

absl::Status SequenceStream::Rollback(uint64_t sequence_id, uint32_t num_tokens) {
  v1::SampleStreamRequest request;
  request.mutable_rollback()->set_sequence_id(sequence_id);
  request.mutable_rollback()->set_num_tokens(num_tokens);
  return Call(*call_, request).status();
}

absl::Status SequenceStream::Close(const std::vector<uint64_t>& sequence_ids) {
  v1::SampleStreamRequest request;
  request.mutable_close()->mutable_sequence_ids()->Add(sequence_ids.begin(), sequence_ids.end());
  return Call(*call_, request).status();
}

bool SequenceStream::broken() const { return !call_->error().ok(); }

}  // namespace token_sampler::client
