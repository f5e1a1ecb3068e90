// The server: it listens, serves, drains and stops.

#ifndef TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_H_
#define TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "sampler/sampler.h"
#include "server/batching/batcher.h"
#include "server/batching/mutex.h"
#include "server/calls/open_calls.h"
#include "server/kserve/kserve_service.h"
#include "server/listener/accept_loop.h"
#include "server/listener/listen_socket.h"
#include "server/memory/caller_ledgers.h"
#include "server/memory/ledger.h"
#include "server/native/sampling_service.h"
#include "server/operation/health_service.h"
#include "server/operation/reflection_service.h"
#include "server/program/server_options.h"
#include "server/regions/region_registry.h"

namespace token_sampler {

class Server {
 public:
  // Called on a thread of the server if it can no longer accept connections although it was not
  // stopped.
  using OnDeaf = std::function<void(const std::string& reason)>;

  // Listens on every address of the options and serves. `sampler` must outlive the server. Raises
  // this process's limit of descriptors to the hard limit. InvalidArgument if an option is invalid;
  // Unavailable or AlreadyExists, with the address, if it cannot listen on one.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       Sampler& sampler, OnDeaf on_deaf = {});

  // Calls Stop without any time for calls in flight.
  ~Server();

  // The addresses on which it listens, with the actual ports.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Makes health report NOT_SERVING from now on, so that load balancers send calls elsewhere. Calls
  // are still served.
  void BeginDrain();

  // Refuses new calls, gives those in flight `timeout` to finish, cancels the rest, and stops the
  // executors. Idempotent.
  void Stop(std::chrono::milliseconds timeout);

  BatcherCounters counters() const { return batcher_.counters(); }

  // Accounts for the memory that callers make the server hold.
  const Ledger& ledger() const { return ledger_; }

  // The bytes that the sequences of all streams hold.
  uint64_t sequence_bytes() const { return ledger_.used(Account::kSequences); }

  // Do not call it after Stop.
  AcceptCounters connections() const { return accept_loop_->counters(); }

 private:
  Server(const ServerOptions& options, Sampler& sampler);

  // Sets the status that health reports; NOT_SERVING if the server drains.
  void SetServing(bool serving);

  // Checks every second that the executors make progress, until the server drains.
  void WatchProgress();

  // Starts to accept connections. Call it after gRPC serves.
  void Accept(const ServerOptions& options, std::vector<Listening> listening, OnDeaf on_deaf);

  Ledger ledger_;           // this and callers_ outlive all that holds a grant
  CallerLedgers callers_;   // a share of ledger_ for each caller
  RegionRegistry regions_;  // outlives the jobs that read from it
  OpenCalls calls_;
  Batcher batcher_;
  const ServerContext context_;
  SamplingService service_;
  KserveService kserve_service_;
  HealthService health_;
  ReflectionService reflection_;
  std::vector<SocketPath> socket_paths_;
  std::vector<std::string> addresses_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> grpc_server_;
  Mutex mutex_;
  CondVar drain_began_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread progress_thread_;
  std::atomic<const AcceptLoop*> connections_{nullptr};  // accept_loop_, for threads of calls
  std::unique_ptr<AcceptLoop> accept_loop_;  // watches the connections until grpc_server_ is
                                             // destroyed
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_PROGRAM_SERVER_H_
