#include "server/sequences/sequence_stream.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <string>

#include "server/field_check.h"
#include "server/invalid_argument.h"
#include "server/sequences/step_job.h"

namespace token_sampler {

void SequenceStream::OnRequest(grpc::ByteBuffer& message) {
  answer_.Clear();
  if (const absl::Status status = received_.Parse(message); !status.ok()) return Answer(status);
  const v1::SampleStreamRequest& request = received_.request();
  if (request.has_request_id()) answer_.set_request_id(request.request_id());
  if (const absl::Status status = CheckFields(request); !status.ok()) return Answer(status);
  switch (request.request_case()) {
    case v1::SampleStreamRequest::kOpen:
      return Answer(table_.Open(request.open(), answer_));
    case v1::SampleStreamRequest::kStep:
      return Step(request.step());
    case v1::SampleStreamRequest::kFork:
      return Answer(table_.Fork(request.fork()));
    case v1::SampleStreamRequest::kRollback:
      return Answer(table_.Rollback(request.rollback()));
    case v1::SampleStreamRequest::kClose:
      return Answer(table_.Close(request.close()));
    case v1::SampleStreamRequest::REQUEST_NOT_SET:
      break;
  }
  Answer(Invalid("request must be set: open, step, fork, rollback or close"));
}

void SequenceStream::Step(const v1::StepSequences& message) {
  auto job =
      std::make_shared<StepJob>(answer_, [this](const absl::Status& status) { Answer(status); });
  const absl::Status status = job->Decode(message, received_.data(), request_limits_, table_);
  if (status.ok()) {
    Submit(job);
  } else {
    job->Done(status);
  }
}

void SequenceStream::Answer(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal) {
    spdlog::error("sampling failed: {}", std::string(status.message()));
  }
  // Abseil took its codes from gRPC.
  answer_.set_status_code(static_cast<uint32_t>(status.code()));
  if (!status.ok()) answer_.set_status_message(std::string(status.message()));
  const absl::Status written = SerializeMessage(answer_, response());
  if (written.ok()) return Send();
  answer_.clear_sampled();
  Answer(written);
}

}  // namespace token_sampler
