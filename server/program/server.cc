#include "server/program/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "sampler/status_macros.h"
#include "server/codec/field_check.h"
#include "server/listener/descriptors.h"
#include "server/listener/frames/guarded_connection.h"
#include "server/memory/machine_memory.h"
#include "server/operation/progress_watch.h"
#include "server/program/goaway.h"
#include "server/program/transport_options.h"

namespace token_sampler {
namespace {

uint64_t MemoryBudget(const ServerOptions& options) {
  return options.memory_budget > 0 ? options.memory_budget : DefaultMemoryBudget(MachineMemory());
}

TransportBounds TransportOf(const ServerOptions& options) {
  return BoundsOfTransport(MachineMemory(), MemoryBudget(options), options.max_incomplete_bytes);
}

RegionOptions With(RegionOptions options, Ledger& ledger,
                   std::function<bool(const std::string& peer)> connected) {
  options.ledger = &ledger;
  options.connected = std::move(connected);
  return options;
}

BatcherOptions WithWeights(const ServerOptions& options) {
  BatcherOptions batcher = options.batcher;
  batcher.client_weights = *ParseClientWeights(options.client_weights);
  return batcher;
}

RequestLimits LimitsOf(const ServerOptions& options) {
  // A small message may take much more than its size after parsing.
  constexpr uint64_t kLeastParsedBytes = uint64_t{64} << 20;
  RequestLimits limits = options.request;
  limits.max_parsed_bytes = std::max(options.max_message_bytes, kLeastParsedBytes);
  return limits;
}

v1::GetServerInfoResponse MakeInfo(const ServerOptions& options, const Sampler& sampler) {
  v1::GetServerInfoResponse info;
  info.set_version(TOKEN_SAMPLER_VERSION);
  info.set_spec_version(kSpecVersion);
  info.set_backend(std::string(sampler.name()));
  info.set_device(sampler.device());
  info.set_max_rows(options.request.max_rows);
  info.set_max_vocab(options.request.max_vocab);
  info.set_max_message_bytes(options.max_message_bytes);
  info.set_max_num_samples(kMaxDraws);
  info.set_max_response_bytes(options.request.max_response_bytes);
  info.set_memory_budget_bytes(MemoryBudget(options));
  for (std::string& feature : ImplementedFeatures()) info.add_features(std::move(feature));
  return info;
}

// Descriptors that do not belong to connections: of libraries, the log, epoll, gRPC.
constexpr uint64_t kOtherDescriptors = 128;

// The time without progress of waiting jobs after which health reports NOT_SERVING. The largest
// call takes less.
constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::seconds kBetweenLooks{1};

// The time for which a peer whose connection was closed cannot connect again. Without it, an attack
// would go on as fast as the peer connects. Honest clients at the same address retry.
constexpr std::chrono::seconds kShunTime{1};

// The longest time between checks for connections that stand still.
constexpr std::chrono::milliseconds kMostBetweenLooks{5000};

// The time that clients have to acknowledge GOAWAY when no call is open: several round trips.
constexpr std::chrono::milliseconds kGoawayTime{1000};

// Each probe or tool needs one, so these are enough for all honest ones.
constexpr uint64_t kMaxHealthWatches = 1024;
constexpr int64_t kMaxReflectionStreams = 64;

std::vector<std::string> Services() {
  return {v1::TokenSampler::service_full_name(),
          inference::GRPCInferenceService::service_full_name()};
}

std::vector<std::string> AllServices() {
  std::vector<std::string> services = Services();
  services.emplace_back(grpc::health::v1::Health::service_full_name());
  services.emplace_back(grpc::reflection::v1alpha::ServerReflection::service_full_name());
  return services;
}

}  // namespace

Server::Server(const ServerOptions& options, Sampler& sampler)
    : ledger_(MemoryBudget(options)),
      callers_(ledger_),
      regions_(With(options.regions, ledger_,
                    [this](const std::string& peer) {
                      const AcceptLoop* const loop = connections_.load();
                      return loop == nullptr || loop->IsConnected(peer);
                    })),
      batcher_(sampler, WithWeights(options)),
      context_{LimitsOf(options), regions_, callers_},
      service_(batcher_, calls_, sampler, context_, options.sequences, MakeInfo(options, sampler)),
      kserve_service_(batcher_, calls_, context_),
      health_(calls_, Services(), kMaxHealthWatches),
      reflection_(batcher_, calls_, AllServices(), kMaxReflectionStreams) {
  ledger_.LimitAccount(Account::kSequences, options.sequences.max_bytes, "--max-sequence-bytes",
                       "close some");
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      Sampler& sampler, OnDeaf on_deaf) {
  RETURN_IF_ERROR(ValidateOptions(options));
  grpc::EnableDefaultHealthCheckService(false);
  // The Abseil of distributions looks for deadlock cycles whenever gRPC takes a lock, which takes a
  // twelfth of a call's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const SocketAccess access = {.mode = *ParseSocketMode(options.socket_mode),
                               .group = options.socket_group};
  std::vector<Listening> listening;
  for (const std::string& address : options.listen) {
    ASSIGN_OR_RETURN(Listening one, Listen(address, access));
    listening.push_back(std::move(one));
  }
  std::unique_ptr<Server> server(new Server(options, sampler));
  grpc::ServerBuilder builder;
  BoundTransport(options, TransportOf(options).quota, builder);
  builder.RegisterService(&server->service_);
  builder.RegisterService(&server->kserve_service_);
  builder.RegisterService(&server->health_);
  builder.RegisterService(&server->reflection_);
  server->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  server->grpc_server_ = builder.BuildAndStart();
  if (server->grpc_server_ == nullptr) return absl::InternalError("gRPC cannot start");
  server->SetServing(true);
  server->progress_thread_ = std::thread([&server = *server] { server.WatchProgress(); });
  server->Accept(options, std::move(listening), std::move(on_deaf));
  return server;
}

void Server::Accept(const ServerOptions& options, std::vector<Listening> listening,
                    OnDeaf on_deaf) {
  std::vector<Descriptor> sockets;
  for (Listening& one : listening) {
    std::move(one.sockets.begin(), one.sockets.end(), std::back_inserter(sockets));
    if (one.unix_path.has_value()) socket_paths_.push_back(*std::move(one.unix_path));
    addresses_.push_back(std::move(one.address));
  }
  const FrameLimits frames = {
      .max_header_bytes = 4 * options.max_metadata_bytes,
      .max_message_bytes = 2 * options.max_message_bytes,
      .patience = options.stall_timeout,
      .receipt = std::make_shared<Receipt>(TransportOf(options).incomplete)};
  const auto accepted = [this, frames](AcceptLoop& loop, Descriptor connection,
                                       const std::string& group) {
    GuardConnection(connection.get(), frames, [&loop, group](const std::string& reason) {
      spdlog::warn("connection closed: {} (peer {})", reason, group);
      loop.Shun(group, std::chrono::system_clock::now() + kShunTime);
    });
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.fd = connection.Release();
    acceptor_->HandleNewConnection(&parameters);
  };
  const auto warn = [](const std::string& message) { spdlog::warn("{}", message); };
  const auto died = [on_deaf = std::move(on_deaf)](const std::string& reason) {
    spdlog::critical("a listener has failed: {}", reason);
    if (on_deaf) on_deaf(reason);
  };
  const uint64_t max_connections =
      ConnectionsWithin(RaiseDescriptorLimit(), options.regions.max_regions + kOtherDescriptors,
                        options.max_connections);
  accept_loop_ = std::make_unique<AcceptLoop>(
      std::move(sockets),
      AcceptLimits{.max_connections = max_connections,
                   .max_per_peer = options.max_connections_per_peer,
                   .max_rate = options.max_connection_rate},
      AcceptEvents{.accepted = accepted,
                   .ended = ReleaseConnection,
                   .look = LookAtConnection,
                   .between_looks = std::min(kMostBetweenLooks, options.stall_timeout / 4),
                   .warn = warn,
                   .listener_died = died});
  connections_ = accept_loop_.get();
}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

void Server::SetServing(bool serving) {
  MutexLock lock(mutex_);
  serving = serving && !draining_;
  health_.SetServing(serving);
  kserve_service_.SetReady(serving);
}

void Server::WatchProgress() {
  ProgressWatch watch(kPatience);
  bool serving = true;
  for (;;) {
    {
      MutexLock lock(mutex_);
      const TimePoint next = std::chrono::system_clock::now() + kBetweenLooks;
      while (!draining_ && drain_began_.WaitUntil(mutex_, next)) {
      }
      if (draining_) return;
    }
    const bool getting_on = watch.Look(counters(), std::chrono::system_clock::now());
    if (getting_on == serving) continue;
    serving = getting_on;
    if (serving) {
      spdlog::warn("calls make progress again: health reports SERVING");
    } else {
      spdlog::error("no waiting call makes progress: health reports NOT_SERVING");
    }
    SetServing(serving);
  }
}

void Server::BeginDrain() {
  if (grpc_server_ == nullptr) return;
  {
    MutexLock lock(mutex_);
    draining_ = true;
    drain_began_.NotifyAll();
  }
  SetServing(false);
  if (progress_thread_.joinable()) progress_thread_.join();
}

void Server::Stop(std::chrono::milliseconds timeout) {
  if (grpc_server_ != nullptr) {
    const TimePoint deadline = std::chrono::system_clock::now() + timeout;
    BeginDrain();
    // From now on another server may use the addresses.
    accept_loop_->StopAccepting();
    socket_paths_.clear();
    // Refuse calls that still come with a status that makes clients retry elsewhere, and tell
    // clients to open no more. Shut down gRPC only after they have heard it, because its shutdown
    // would cancel calls on their way, and closing a connection could destroy answers that a client
    // has not read yet.
    calls_.Close();
    SendGoaways(*grpc_server_);
    calls_.AwaitNone(deadline);
    accept_loop_->AwaitNone(std::min(deadline, std::chrono::system_clock::now() + kGoawayTime));
    grpc_server_->Shutdown(deadline);
    grpc_server_.reset();
    accept_loop_.reset();
  }
  batcher_.Stop();
}

}  // namespace token_sampler
