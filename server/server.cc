#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/field_check.h"
#include "server/listen_address.h"
#include "server/memory/machine_memory.h"

namespace token_sampler {
namespace {

uint64_t MemoryBudget(const ServerOptions& options) {
  return options.memory_budget > 0 ? options.memory_budget : DefaultMemoryBudget(MachineMemory());
}

RegionOptions WithLedger(RegionOptions options, Ledger& ledger) {
  options.ledger = &ledger;
  return options;
}

RequestLimits CallLimits(const ServerOptions& options, CallerLedgers& callers) {
  // A small message may well take more than its size once it is parsed.
  constexpr uint64_t kLeastParsedBytes = uint64_t{64} << 20;
  RequestLimits limits = options.request;
  limits.callers = &callers;
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

// Plugins are process-wide in gRPC and must be registered before the first builder.
void EnablePluginsOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

Server::Server(const ServerOptions& options, Sampler& sampler)
    : ledger_(MemoryBudget(options)),
      callers_(ledger_),
      regions_(WithLedger(options.regions, ledger_)),
      batcher_(sampler, options.batcher),
      service_(batcher_, calls_, sampler, regions_, CallLimits(options, callers_),
               options.sequences, MakeInfo(options, sampler)),
      kserve_service_(batcher_, calls_, regions_, CallLimits(options, callers_)) {
  ledger_.LimitAccount(Account::kSequences, options.sequences.max_bytes, "--max-sequence-bytes",
                       "close some");
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      Sampler& sampler) {
  if (absl::Status status = ValidateOptions(options); !status.ok()) return status;
  EnablePluginsOnce();
  std::unique_ptr<Server> server(new Server(options, sampler));
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(options.max_metadata_bytes));
  // By default two servers could share a port unnoticed.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&server->service_);
  builder.RegisterService(&server->kserve_service_);
  std::vector<int> ports(options.listen.size());
  for (size_t i = 0; i < options.listen.size(); ++i) {
    if (absl::Status status = ClearStaleSocket(options.listen[i]); !status.ok()) return status;
    builder.AddListeningPort(options.listen[i], grpc::InsecureServerCredentials(), &ports[i]);
  }
  server->grpc_server_ = builder.BuildAndStart();
  if (server->grpc_server_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", absl::StrJoin(options.listen, ", "),
                     ": is another server there, or is the address not this machine's?"));
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    server->addresses_.push_back(BoundAddress(options.listen[i], ports[i]));
  }
  for (const char* service : {v1::TokenSampler::service_full_name(),
                              inference::GRPCInferenceService::service_full_name()}) {
    server->grpc_server_->GetHealthCheckService()->SetServingStatus(service, true);
  }
  return server;
}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

void Server::BeginDrain() {
  if (grpc_server_ == nullptr) return;
  grpc_server_->GetHealthCheckService()->Shutdown();
  kserve_service_.BeginDrain();
}

void Server::Stop(std::chrono::milliseconds timeout) {
  if (grpc_server_ != nullptr) {
    const TimePoint deadline = std::chrono::system_clock::now() + timeout;
    BeginDrain();
    // gRPC closes a connection behind its last call, and where data of a call that came too late is
    // still on its way, that takes away answers which the client has not read. So they come first:
    // what gRPC sends before it closes has to be acknowledged, and so has all before it.
    calls_.Close();
    calls_.AwaitNone(deadline);
    grpc_server_->Shutdown(deadline);
    grpc_server_.reset();
  }
  batcher_.Stop();
}

}  // namespace token_sampler
