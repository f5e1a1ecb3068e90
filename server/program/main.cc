// token-sampler-server: parses flags, creates a backend and a server, and serves until a signal
// ends it.

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/usage/counted.h"
#include "client/usage/environment.h"
#include "server/batching/mutex.h"
#include "server/listener/descriptors.h"
#include "server/listener/listen_address.h"
#include "server/logging/logging.h"
#include "server/program/backend.h"
#include "server/program/command_line.h"
#include "server/program/server.h"

namespace token_sampler {
namespace {

// Blocks SIGTERM and SIGINT in this thread and all that it starts, for sigwait, and returns the
// set. This also works for process 1 of a container, for which signals have no default action.
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

// The longest time to wait for the last lines of the log to be written.
constexpr std::chrono::milliseconds kLogTime{500};

void ExitAtOnceOnNextSignal(const sigset_t& signals) {
  std::thread([signals] {
    const int signal = WaitForSignal(signals);
    std::_Exit(128 + signal);
  }).detach();
}

// Ends the process if it is not destroyed within its time, whatever still runs: an executor that
// samples, a client that does not read.
class ExitTimer {
 public:
  // `failed` must outlive the timer; it decides the exit code.
  explicit ExitTimer(const std::atomic<bool>& failed) : failed_(failed) {}

  // Joins the thread, so that the log does not end while the thread writes to it. Does not return
  // if the thread ends the process.
  ~ExitTimer() {
    if (!thread_.joinable()) return;
    {
      MutexLock lock(mutex_);
      stopped_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  ExitTimer(const ExitTimer&) = delete;
  ExitTimer& operator=(const ExitTimer&) = delete;

  void Start(std::chrono::milliseconds time) {
    thread_ = std::thread([this, end = std::chrono::system_clock::now() + time] { Await(end); });
  }

 private:
  void Await(std::chrono::system_clock::time_point end) {
    MutexLock lock(mutex_);
    while (!stopped_) {
      if (changed_.WaitUntil(mutex_, end)) continue;
      spdlog::error("the drain time is over: stopping while calls are still running");
      FlushLog(kLogTime / 10);
      std::_Exit(failed_ ? EXIT_FAILURE : EXIT_SUCCESS);
    }
  }

  const std::atomic<bool>& failed_;
  Mutex mutex_;
  CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Samples one batch, so that threads, memory and kernels are ready for the first call.
absl::Status WarmUp(Sampler& sampler) {
  constexpr int kRows = 16;
  const std::vector<float> logits(32'768);
  SamplingParams params;
  params.top_k = 50;
  params.top_p = 0.9;
  RowInput row;
  row.values = logits.data();
  row.vocab = static_cast<int64_t>(logits.size());
  row.params = &params;
  const std::vector<RowInput> rows(kRows, row);
  std::vector<RowResult> results(kRows);
  return sampler.Sample(rows, absl::MakeSpan(results));
}

int Fail(const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  FlushLog(kLogTime);
  return EXIT_FAILURE;
}

int Serve(const ServerOptions& options) {
  const sigset_t signals = BlockEndSignals();
  SetUpLogging(options.log_level, options.log_format);
  for (const std::string& warning : UnknownVariables(environ)) spdlog::warn("{}", warning);

  // If the device is lost or a listener dies, the server drains and ends, so that its supervisor
  // starts another.
  std::atomic<bool> failed = false;
  const auto fail = [&failed] {
    failed = true;
    kill(getpid(), SIGTERM);
  };
  const auto end = [fail](const absl::Status& status) {
    spdlog::critical("the device is lost: {}", std::string(status.message()));
    fail();
  };
  ExitTimer exit_timer(failed);
  absl::StatusOr<Backend> backend = CreateBackend(options.device, options.threads, end);
  if (!backend.ok()) return Fail(backend.status());
  const Sampler& sampler = *backend->sampler;
  spdlog::info("token-sampler-server {}, specification {}, backend {} ({}): {}",
               TOKEN_SAMPLER_VERSION, kSpecVersion, std::string(sampler.name()), sampler.device(),
               backend->reason);

  ServerOptions with_device = options;
  with_device.regions.open_cuda = backend->open_cuda;
  with_device.regions.pinning = backend->pinning;
  // Warm up before listening, so that clients can connect only when the server is ready.
  if (const absl::Status status = WarmUp(*backend->sampler); !status.ok()) return Fail(status);
  absl::StatusOr<std::unique_ptr<Server>> started =
      Server::Start(with_device, *backend->sampler, [fail](const std::string&) { fail(); });
  if (!started.ok()) return Fail(started.status());
  Server& server = **started;
  spdlog::info("serving on {}", absl::StrJoin(server.addresses(), ", "));
  if (!options.address_file.empty()) {
    const absl::Status status = WriteAddressFile(options.address_file, server.addresses());
    if (!status.ok()) return Fail(status);
  }

  const int signal = WaitForSignal(signals);
  ExitAtOnceOnNextSignal(signals);
  // The process must end within the drain time, whatever runs. The margin is for ending by force.
  const std::chrono::milliseconds margin = std::min(options.drain_timeout / 10, kLogTime);
  exit_timer.Start(options.drain_delay + options.drain_timeout - margin / 2);
  spdlog::info("received signal {}: draining; a second signal ends the server at once", signal);
  server.BeginDrain();
  std::this_thread::sleep_for(options.drain_delay);
  server.Stop(options.drain_timeout - margin);
  const BatcherCounters counters = server.counters();
  spdlog::info("stopped after {} in {}", Counted(counters.rows, "row"),
               Counted(counters.batches, "batch", "batches"));
  FlushLog(kLogTime);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace token_sampler

int main(int argc, char** argv) {
  token_sampler::OpenStandardStreams();
  // Standard error may be a pipe, and gRPC writes to sockets: writes must fail instead of ending
  // the process.
  std::signal(SIGPIPE, SIG_IGN);
  const token_sampler::CommandLine command_line = token_sampler::ParseCommandLine(argc, argv);
  if (command_line.exit_code.has_value()) return *command_line.exit_code;
  return token_sampler::Serve(command_line.options);
}
