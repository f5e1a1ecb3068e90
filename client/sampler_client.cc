#include "token_sampler/sampler_client.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/base/internal/sysinfo.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/wire/call_status.h"
#include "client/wire/stream_call.h"
#include "client/wire/verify_draft_wire.h"
#include "client/wire/wire.h"
#include "sampler/status_macros.h"
#include "token_sampler/sequence_stream.h"
#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler::client {
namespace {

constexpr int kMaxChannels = 1024;

template <typename Value>
Matrix MakeMatrix(absl::Span<const Value> values, DataType dtype, int64_t vocab) {
  Matrix matrix;
  matrix.values = values.data();
  matrix.byte_size = values.size() * sizeof(Value);
  matrix.dtype = dtype;
  matrix.rows = vocab > 0 ? static_cast<int64_t>(values.size()) / vocab : 0;
  matrix.vocab = vocab;
  return matrix;
}

absl::Status CheckAddress(absl::string_view address) {
  for (absl::string_view scheme : {"unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::StartsWith(address, scheme) && address.size() > scheme.size()) {
      return absl::OkStatus();
    }
  }
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("address must be host:port or unix:/path, got '", address, "'"));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (!(options.timeout > absl::ZeroDuration())) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout must be above 0, got ", absl::FormatDuration(options.timeout)));
  }
  if (options.max_message_bytes < 1 || options.max_message_bytes > INT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("max_message_bytes must be in [1, ", INT32_MAX,
                                                   "], got ", options.max_message_bytes));
  }
  if (options.channels < 1 || options.channels > kMaxChannels) {
    return absl::InvalidArgumentError(
        absl::StrCat("channels must be in [1, ", kMaxChannels, "], got ", options.channels));
  }
  return absl::OkStatus();
}

// Before release 1.61, gRPC takes locks between connect() and reading errno. The first thread that
// waits for such a lock makes Abseil look for the CPUs and their clock in /sys, where a missing
// file sets errno to ENOENT: then the new connection fails. Calling this first avoids that, as
// Abseil keeps what it finds.
void LookForCpus() {
  static_cast<void>(absl::base_internal::NumCPUs());
  static_cast<void>(absl::base_internal::NominalCPUFrequency());
}

std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address) {
  LookForCpus();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // Otherwise channels to one address would share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// Everything that must live until a call has ended.
template <typename Request, typename Response>
struct Call {
  std::optional<grpc::ClientContext> context{std::in_place};
  Request request;
  Response response;
};

}  // namespace

size_t ElementSize(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return 4;
    case DataType::kFloat64:
      return 8;
    case DataType::kFloat16:
    case DataType::kBFloat16:
      break;
  }
  return 2;
}

absl::string_view DataTypeName(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "f32";
    case DataType::kFloat16:
      return "f16";
    case DataType::kBFloat16:
      return "bf16";
    case DataType::kFloat64:
      break;
  }
  return "f64";
}

Matrix Float32Matrix(absl::Span<const float> values, int64_t vocab) {
  return MakeMatrix(values, DataType::kFloat32, vocab);
}

Matrix Float64Matrix(absl::Span<const double> values, int64_t vocab) {
  return MakeMatrix(values, DataType::kFloat64, vocab);
}

Matrix Float16Matrix(absl::Span<const uint16_t> values, int64_t vocab) {
  return MakeMatrix(values, DataType::kFloat16, vocab);
}

Matrix BFloat16Matrix(absl::Span<const uint16_t> values, int64_t vocab) {
  return MakeMatrix(values, DataType::kBFloat16, vocab);
}

std::string RowCodeName(RowCode code) {
  const std::string& name = v1::RowCode_Name(static_cast<int>(code));
  if (name.empty()) return absl::StrCat("CODE_", static_cast<int>(code));
  return name.substr(sizeof("ROW_CODE_") - 1);
}

absl::string_view HealthStatusName(HealthStatus status) {
  switch (status) {
    case HealthStatus::kServing:
      return "SERVING";
    case HealthStatus::kNotServing:
      return "NOT_SERVING";
    case HealthStatus::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case HealthStatus::kUnknown:
      break;
  }
  return "UNKNOWN";
}

struct EncodedRequest::Message {
  grpc::ByteBuffer bytes;
};

absl::StatusOr<EncodedRequest> EncodedRequest::Create(const SampleRequest& request) {
  ASSIGN_OR_RETURN(grpc::ByteBuffer bytes, EncodeSampleRequest(request));
  EncodedRequest encoded;
  encoded.rows_ = request.matrix.rows;
  encoded.byte_size_ = static_cast<int64_t>(bytes.Length());
  encoded.message_ = std::make_shared<Message>(Message{bytes});
  return encoded;
}

// Holds the channels, and does what every call needs: deadline, next channel, status. Its
// destructor waits for the calls in flight, and so does that of its client, which may come before.
// A call's context holds the channel, and the thread that releases the last channel joins the
// threads that run callbacks (grpc 1.51, src/cpp/common/completion_queue_cc.cc): one of those would
// wait for itself. So no context outlives the connection.
class SamplerClient::Connection {
 public:
  Connection(absl::string_view address, const ClientOptions& options)
      : address_(address), options_(options) {
    for (int i = 0; i < options.channels; ++i) channels_.push_back(CreateChannel(address_));
  }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ~Connection() { AwaitCalls(); }

  // Waits until no call is in flight.
  void AwaitCalls() {
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.wait(lock, [this] { return in_flight_ == 0; });
  }

  // InvalidArgument when a request of this many bytes is too large to send.
  absl::Status CheckSize(int64_t bytes) const {
    if (bytes <= options_.max_message_bytes) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the request has ", bytes, " bytes, max_message_bytes is ",
                     options_.max_message_bytes, "; send fewer rows per call or raise it"));
  }

  // Starts a call. `done` gets the response, or the error.
  template <typename Response, typename Request, typename Done>
  void Start(const std::string& method, Request request, Done done) {
    auto call = std::make_shared<Call<Request, Response>>();
    call->request = std::move(request);
    if (options_.timeout != absl::InfiniteDuration()) {
      call->context->set_deadline(absl::ToChronoTime(absl::Now() + options_.timeout));
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++in_flight_;
    }
    grpc::TemplatedGenericStub<Request, Response> stub(NextChannel());
    stub.UnaryCall(&*call->context, method, grpc::StubOptions(), &call->request, &call->response,
                   [this, call, done = std::move(done)](const grpc::Status& status) {
                     const absl::Status ended = ToAbsl(status, address_, options_.timeout);
                     call->context.reset();
                     done(ended, call->response);
                     const std::lock_guard<std::mutex> lock(mutex_);
                     --in_flight_;
                     // Under the lock: the connection may be destroyed as soon as AwaitCalls() sees
                     // 0.
                     ended_.notify_one();
                   });
  }

  absl::Status RegisterRegion(v1::RegisterRegionRequest request) {
    return Wait<v1::RegisterRegionResponse>("/token_sampler.v1.TokenSampler/RegisterRegion",
                                            std::move(request))
        .status();
  }

  absl::Status UnregisterRegion(absl::string_view name) {
    v1::UnregisterRegionRequest request;
    request.set_name(std::string(name));
    return Wait<v1::UnregisterRegionResponse>("/token_sampler.v1.TokenSampler/UnregisterRegion",
                                              std::move(request))
        .status();
  }

  std::unique_ptr<StreamCall> StartStream() {
    return std::make_unique<StreamCall>(NextChannel(), address_, options_);
  }

  // Makes a call and waits for its end.
  template <typename Response, typename Request>
  absl::StatusOr<Response> Wait(const std::string& method, Request request) {
    using Result = absl::StatusOr<Response>;
    auto promise = std::make_shared<std::promise<Result>>();
    std::future<Result> future = promise->get_future();
    Start<Response>(method, std::move(request),
                    [promise](const absl::Status& status, const Response& response) {
                      promise->set_value(status.ok() ? Result(response) : Result(status));
                    });
    return future.get();
  }

 private:
  const std::shared_ptr<grpc::Channel>& NextChannel() {
    const size_t next = next_channel_.fetch_add(1, std::memory_order_relaxed);
    return channels_[next % channels_.size()];
  }

  const std::string address_;
  const ClientOptions options_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::atomic<size_t> next_channel_{0};

  std::mutex mutex_;
  std::condition_variable ended_;
  int64_t in_flight_ = 0;  // calls whose `done` has not returned; guarded by mutex_
};

SamplerClient::SamplerClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)) {}
SamplerClient::SamplerClient(SamplerClient&&) noexcept = default;
SamplerClient& SamplerClient::operator=(SamplerClient&& other) noexcept {
  SamplerClient moved(std::move(other));
  connection_.swap(moved.connection_);  // the old one ends with its client, `moved`
  return *this;
}
SamplerClient::~SamplerClient() {
  if (connection_ != nullptr) connection_->AwaitCalls();
}

std::function<void()> SamplerClient::Unregisterer(const std::string& name) const {
  return [connection = connection_, name] { (void)connection->UnregisterRegion(name); };
}

absl::StatusOr<SamplerClient> SamplerClient::Connect(absl::string_view address,
                                                     const ClientOptions& options) {
  RETURN_IF_ERROR(CheckAddress(address));
  RETURN_IF_ERROR(CheckOptions(options));
  return SamplerClient(std::make_shared<Connection>(address, options));
}

void SamplerClient::SampleAsync(const SampleRequest& request, SampleCallback done) const {
  absl::StatusOr<EncodedRequest> encoded = EncodedRequest::Create(request);
  if (!encoded.ok()) return done(encoded.status());
  SampleAsync(*encoded, std::move(done));
}

void SamplerClient::SampleAsync(const EncodedRequest& request, SampleCallback done) const {
  if (absl::Status status = connection_->CheckSize(request.byte_size()); !status.ok()) {
    return done(status);
  }
  connection_->Start<v1::SampleResponse>(
      "/token_sampler.v1.TokenSampler/Sample", request.message_->bytes,
      [done = std::move(done), rows = request.rows()](const absl::Status& status,
                                                      const v1::SampleResponse& response) {
        done(status.ok() ? DecodeSampleResponse(response, rows) : status);
      });
}

absl::StatusOr<SampleResult> SamplerClient::Sample(const SampleRequest& request) const {
  // Shared, because set_value() may still be running when get() has returned.
  auto promise = std::make_shared<std::promise<absl::StatusOr<SampleResult>>>();
  std::future<absl::StatusOr<SampleResult>> future = promise->get_future();
  SampleAsync(request, [promise](absl::StatusOr<SampleResult> result) {
    promise->set_value(std::move(result));
  });
  return future.get();
}

absl::StatusOr<Description> SamplerClient::Describe(const SampleRequest& request,
                                                    uint32_t top_n) const {
  ASSIGN_OR_RETURN(v1::DescribeRequest message, EncodeDescribeRequest(request, top_n));
  ASSIGN_OR_RETURN(
      v1::DescribeResponse response,
      connection_->Wait<v1::DescribeResponse>("/token_sampler.v1.TokenSampler/Describe", message));
  return DecodeDescription(response);
}

absl::StatusOr<VerifyDraftResult> SamplerClient::VerifyDraft(
    const VerifyDraftRequest& request) const {
  ASSIGN_OR_RETURN(grpc::ByteBuffer message, EncodeVerifyDraftRequest(request));
  RETURN_IF_ERROR(connection_->CheckSize(static_cast<int64_t>(message.Length())));
  ASSIGN_OR_RETURN(v1::VerifyDraftResponse response,
                   connection_->Wait<v1::VerifyDraftResponse>(
                       "/token_sampler.v1.TokenSampler/VerifyDraft", message));
  return DecodeVerifyDraftResponse(response, request.sequences);
}

SequenceStream SamplerClient::OpenStream() const {
  return SequenceStream(connection_->StartStream());
}

absl::Status SamplerClient::RegisterRegion(absl::string_view name, absl::string_view key,
                                           uint64_t offset, uint64_t byte_size) const {
  v1::RegisterRegionRequest request;
  request.set_name(std::string(name));
  request.set_kind(v1::REGION_KIND_SYSTEM);
  request.set_key(std::string(key));
  request.set_offset(offset);
  request.set_byte_size(byte_size);
  return connection_->RegisterRegion(std::move(request));
}

absl::Status SamplerClient::RegisterRegion(absl::string_view name, const CudaRegion& region) const {
  v1::RegisterRegionRequest request;
  request.set_name(std::string(name));
  request.set_kind(v1::REGION_KIND_CUDA);
  request.set_cuda_handle(region.handle);
  if (!region.event.empty()) request.set_cuda_event(region.event);
  request.set_device(region.device);
  request.set_offset(region.offset);
  request.set_byte_size(region.byte_size);
  return connection_->RegisterRegion(std::move(request));
}

absl::Status SamplerClient::UnregisterRegion(absl::string_view name) const {
  return connection_->UnregisterRegion(name);
}

absl::StatusOr<ServerInfo> SamplerClient::GetServerInfo() const {
  ASSIGN_OR_RETURN(v1::GetServerInfoResponse response,
                   connection_->Wait<v1::GetServerInfoResponse>(
                       "/token_sampler.v1.TokenSampler/GetServerInfo", v1::GetServerInfoRequest()));
  return DecodeServerInfo(response);
}

absl::StatusOr<HealthStatus> SamplerClient::CheckHealth(absl::string_view service) const {
  // On the wire these are HealthCheckRequest { string service = 1; } and
  // HealthCheckResponse { ServingStatus status = 1; }.
  google::protobuf::StringValue request;
  request.set_value(std::string(service));
  ASSIGN_OR_RETURN(google::protobuf::Int32Value response,
                   connection_->Wait<google::protobuf::Int32Value>("/grpc.health.v1.Health/Check",
                                                                   std::move(request)));
  return static_cast<HealthStatus>(response.value());
}

}  // namespace token_sampler::client
