#include "client/wire/stream_call.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/wire/call_status.h"
#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler::client {

StreamCall::StreamCall(const std::shared_ptr<grpc::Channel>& channel, std::string address,
                       const ClientOptions& options)
    : address_(std::move(address)),
      options_(options),
      stub_(channel),
      stream_(
          stub_.PrepareCall(&context_, "/token_sampler.v1.TokenSampler/SampleStream", &queue_)) {}

StreamCall::~StreamCall() {
  if (started_ && error_.ok()) {
    context_.TryCancel();
    End();
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool StreamCall::Await(absl::Time deadline) {
  void* tag = nullptr;
  bool ok = false;
  if (deadline != absl::InfiniteFuture()) {
    const auto next = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(deadline));
    if (next == grpc::CompletionQueue::GOT_EVENT) return ok;
    timed_out_ = true;
    context_.TryCancel();
  }
  queue_.Next(&tag, &ok);
  return ok && !timed_out_;
}

void StreamCall::End() {
  grpc::Status status;
  stream_->Finish(&status, this);
  Await(absl::InfiniteFuture());
  if (timed_out_) status = grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "");
  error_ = ToAbsl(status, address_, options_.timeout);
  if (error_.ok()) error_ = absl::UnavailableError("the server has ended the stream");
}

absl::StatusOr<v1::SampleStreamResponse> StreamCall::Exchange(const grpc::ByteBuffer& request) {
  if (!error_.ok()) return error_;
  const auto bytes = static_cast<int64_t>(request.Length());
  if (bytes > options_.max_message_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request has ", bytes, " bytes, max_message_bytes is ",
                     options_.max_message_bytes, "; send fewer rows per call or raise it"));
  }
  const absl::Time deadline = absl::Now() + options_.timeout;
  v1::SampleStreamResponse response;
  bool ok = true;
  if (!std::exchange(started_, true)) {
    stream_->StartCall(this);
    ok = Await(deadline);
  }
  if (ok) {
    stream_->Write(request, this);
    ok = Await(deadline);
  }
  if (ok) {
    stream_->Read(&response, this);
    ok = Await(deadline);
  }
  if (ok) return response;
  End();
  return error_;
}

}  // namespace token_sampler::client
