#include "server/sequences/sequence_stream.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>

#include "server/codec/invalid_argument.h"
#include "server/sequences/step_job.h"

namespace token_sampler {
namespace {

// Nanoseconds that a byte of a request to open sequences may take. A token has some 6 bytes, sent
// and parsed together.
constexpr uint64_t kByteWork = SequenceTable::kTokenWork / 6;

}  // namespace

void SequenceStream::OnRequest(grpc::ByteBuffer& message) {
  if (const absl::Status status = received_.Parse(message); !status.ok()) return Answer(status);
  const v1::SampleStreamRequest& request = received_.request();
  if (request.has_request_id()) answer_.set_request_id(request.request_id());
  if (const absl::Status status = received_.CheckFields(); !status.ok()) return Answer(status);
  switch (request.request_case()) {
    case v1::SampleStreamRequest::kOpen:
      return Change(received_.bytes() * kByteWork,
                    [this](Pace* pace) { return Open(received_.request().open(), pace); });
    case v1::SampleStreamRequest::kStep:
      return Step(request.step());
    case v1::SampleStreamRequest::kFork:
      return Change(table_.ForkWork(request.fork()),
                    [this](Pace* pace) { return table_.Fork(received_.request().fork(), pace); });
    case v1::SampleStreamRequest::kRollback:
      return Change(table_.RollbackWork(request.rollback()), [this](Pace* pace) {
        return table_.Rollback(received_.request().rollback(), pace);
      });
    case v1::SampleStreamRequest::kClose:
      return Answer(table_.Close(request.close()));
    case v1::SampleStreamRequest::REQUEST_NOT_SET:
      break;
  }
  Answer(Invalid("request must be set: open, step, fork, rollback or close"));
}

void SequenceStream::Change(uint64_t nanoseconds, ChangeJob::Change change) {
  // Make a change this short here: it keeps nobody waiting, and handing it over would take longer.
  constexpr uint64_t kShort = 1'000'000;
  if (nanoseconds <= kShort) return Answer(change(nullptr));
  const auto job = std::make_shared<ChangeJob>(
      nanoseconds, std::move(change), [this](const absl::Status& status) { Answer(status); });
  job->bytes = received_.bytes();
  Submit(job);
}

absl::Status SequenceStream::Open(const v1::OpenSequences& message, Pace* pace) {
  // The memory of a sequence in the answer: its seed and its count of skipped ids, in arrays that
  // grow by doubling.
  constexpr uint64_t kSequenceBytes = 64;
  const auto sequences = static_cast<uint64_t>(message.sequences_size());
  absl::Status status = answer_memory_.Grow(sequences * kSequenceBytes);
  return status.ok() ? table_.Open(message, pace, answer_) : status;
}

void SequenceStream::Step(const v1::StepSequences& message) {
  auto job =
      std::make_shared<StepJob>(answer_, [this](const absl::Status& status) { Answer(status); });
  absl::Status status = job->Decode(message, received_.data(), call_context_, table_);
  if (status.ok()) status = answer_memory_.Grow(job->answer().memory);
  if (status.ok()) {
    job->bytes = received_.bytes();
    Submit(job);
  } else {
    job->Done(status);
  }
}

void SequenceStream::Answer(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal) {
    spdlog::error("sampling failed: {}", std::string(status.message()));
  }
  // Abseil's codes are gRPC's.
  answer_.set_status_code(static_cast<uint32_t>(status.code()));
  if (!status.ok()) answer_.set_status_message(std::string(status.message()));
  const absl::Status written = SerializeMessage(answer_, response());
  if (!written.ok()) {
    answer_.clear_sampled();
    return Answer(written);
  }
  // The next request may come much later: until then keep only the bytes of the answer.
  v1::SampleStreamResponse().Swap(&answer_);
  received_.Clear();
  answer_memory_.ShrinkTo(response().Length());
  Send();
}

}  // namespace token_sampler
