// The SampleStream call: one request at a time, each answered or failed within the client's
// timeout. Private to the library.

#ifndef TOKEN_SAMPLER_CLIENT_WIRE_STREAM_CALL_H_
#define TOKEN_SAMPLER_CLIENT_WIRE_STREAM_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler::client {

// Not thread-safe.
class StreamCall {
 public:
  StreamCall(const std::shared_ptr<grpc::Channel>& channel, std::string address,
             const ClientOptions& options);

  // Cancels the stream.
  ~StreamCall();

  StreamCall(const StreamCall&) = delete;
  StreamCall& operator=(const StreamCall&) = delete;

  // Sends a serialized SampleStreamRequest and waits for its answer. If the answer reports an error
  // of the request, the stream goes on. InvalidArgument when the request is too large, which sends
  // nothing. Any other error ends the stream.
  absl::StatusOr<v1::SampleStreamResponse> Exchange(const grpc::ByteBuffer& request);

  // Why the stream has ended; OK while it goes on.
  const absl::Status& error() const { return error_; }

 private:
  using Stub = grpc::TemplatedGenericStub<grpc::ByteBuffer, v1::SampleStreamResponse>;
  using Stream = grpc::ClientAsyncReaderWriter<grpc::ByteBuffer, v1::SampleStreamResponse>;

  // Waits for the started operation. True when it succeeds before the deadline; at the deadline,
  // cancels the call so that the operation ends.
  bool Await(absl::Time deadline);

  // Sets error_ to the reason why the call has ended.
  void End();

  const std::string address_;
  const ClientOptions options_;
  absl::Status error_;
  bool started_ = false;
  bool timed_out_ = false;

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  Stub stub_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_WIRE_STREAM_CALL_H_
