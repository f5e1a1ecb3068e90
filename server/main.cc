// token-sampler-server: flags, a backend, a server, until a signal ends it.

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "absl/strings/str_join.h"
#include "client/usage/counted.h"
#include "client/usage/environment.h"
#include "server/backend.h"
#include "server/command_line.h"
#include "server/listener/listen_address.h"
#include "server/logging.h"
#include "server/server.h"

namespace token_sampler {
namespace {

// SIGTERM and SIGINT, blocked in every thread from here on; sigwait takes them. As process 1 of a
// container a blocked signal has no default action either, so this is all it needs.
sigset_t BlockEndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  return signal;
}

void ExitAtOnceOnNextSignal(const sigset_t& signals) {
  std::thread([signals] {
    const int signal = WaitForSignal(signals);
    std::_Exit(128 + signal);
  }).detach();
}

int Fail(const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  return EXIT_FAILURE;
}

int Serve(const ServerOptions& options) {
  const sigset_t signals = BlockEndSignals();
  SetUpLogging(options.log_level, options.log_format);
  for (const std::string& warning : UnknownVariables(environ)) spdlog::warn("{}", warning);

  // Without its device the server drains and ends, so that whoever runs it starts another.
  std::atomic<bool> device_lost = false;
  const auto end = [&device_lost](const absl::Status& status) {
    spdlog::critical("the device is lost: {}", std::string(status.message()));
    device_lost = true;
    kill(getpid(), SIGTERM);
  };
  absl::StatusOr<Backend> backend = CreateBackend(options.device, options.threads, end);
  if (!backend.ok()) return Fail(backend.status());
  const Sampler& sampler = *backend->sampler;
  spdlog::info("token-sampler-server {}, specification {}, backend {} ({}): {}",
               TOKEN_SAMPLER_VERSION, kSpecVersion, std::string(sampler.name()), sampler.device(),
               backend->reason);

  ServerOptions with_device = options;
  with_device.regions.open_cuda = backend->open_cuda;
  with_device.regions.pinning = backend->pinning;
  absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(with_device, *backend->sampler);
  if (!started.ok()) return Fail(started.status());
  Server& server = **started;
  spdlog::info("serving on {}", absl::StrJoin(server.addresses(), ", "));
  if (!options.address_file.empty()) {
    const absl::Status status = WriteAddressFile(options.address_file, server.addresses());
    if (!status.ok()) return Fail(status);
  }

  const int signal = WaitForSignal(signals);
  spdlog::info("signal {}: draining; another one ends at once", signal);
  ExitAtOnceOnNextSignal(signals);
  server.BeginDrain();
  std::this_thread::sleep_for(options.drain_delay);
  server.Stop(options.drain_timeout);
  const BatcherCounters counters = server.counters();
  spdlog::info("stopped after {} in {}", Counted(counters.rows, "row"),
               Counted(counters.batches, "batch", "batches"));
  return device_lost ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace token_sampler

int main(int argc, char** argv) {
  const token_sampler::CommandLine command_line = token_sampler::ParseCommandLine(argc, argv);
  if (command_line.exit_code.has_value()) return *command_line.exit_code;
  return token_sampler::Serve(command_line.options);
}
