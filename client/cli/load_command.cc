// `load`: keeps a number of calls in flight and reports rates and latencies.

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/commands.h"
#include "client/cli/flags/flags.h"
#include "client/cli/flags/sampling_flags.h"
#include "client/load/closed_loop.h"
#include "client/load/recorder.h"
#include "client/load/report.h"
#include "client/load/workload.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler::client {
namespace {

constexpr char kLoad[] = "Load";

// The server takes at most 256 calls per connection at a time; more would wait in the client.
constexpr int kCallsPerChannel = 200;

struct LoadFlags {
  ConnectionFlags connection;
  SamplingFlags sampling;
  Format format = Format::kTable;
  WorkloadOptions workload;
  std::optional<DataType> dtype;
  ClosedLoopOptions loop;
  std::optional<int> channels;
  Plane plane = Plane::kInline;
};

volatile std::sig_atomic_t interrupted = 0;

// The first SIGINT or SIGTERM ends the loop, so that the measurements are printed. The next one of
// its kind ends the program.
void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int RunLoad(const LoadFlags& flags) {
  WorkloadOptions options = flags.workload;
  options.dtype = flags.dtype.value_or(DataType::kFloat32);
  options.params = flags.sampling.params;
  options.history = flags.sampling.history.Get();
  options.skip_unknown_ids = flags.sampling.history.skip_unknown_ids;
  options.outputs = flags.sampling.outputs();
  const absl::StatusOr<size_t> byte_size = Workload::ByteSize(options);
  if (!byte_size.ok()) return Refuse(byte_size.status().message());
  const absl::StatusOr<SamplerClient> client = flags.connection.Connect(
      flags.channels.value_or((flags.loop.concurrency + kCallsPerChannel - 1) / kCallsPerChannel));
  if (!client.ok()) return Refuse(client.status().message());
  // Connect, and fail before the test begins if nothing answers.
  if (const absl::StatusOr<ServerInfo> info = client->GetServerInfo(); !info.ok()) {
    return Fail(info.status());
  }
  std::optional<SharedRegion> region;
  if (flags.plane == Plane::kShm) {
    absl::StatusOr<SharedRegion> created = SharedRegion::Create(*client, *byte_size);
    if (!created.ok()) return Fail(created.status());
    region = *std::move(created);
    options.region = &*region;
  }
  const absl::StatusOr<Workload> workload = Workload::Create(options);
  if (!workload.ok()) return Refuse(workload.status().message());

  Recorder recorder;
  ClosedLoopOptions loop = flags.loop;
  loop.progress = [&](absl::Duration elapsed) {
    std::fputs(LoadProgress(recorder.Snapshot(), elapsed).c_str(), stderr);
  };
  loop.stopped = [] { return interrupted != 0; };
  CatchInterrupts();
  const absl::Duration elapsed = RunClosedLoop(*client, *workload, loop, recorder);
  const Measurements measurements = recorder.Snapshot();
  const int exit_code = measurements.failed_calls > 0  ? kExitFailed
                        : measurements.failed_rows > 0 ? kExitRowFailed
                                                       : kExitOk;
  return Print(flags.format == Format::kJson ? LoadJson(measurements, elapsed)
                                             : LoadTable(measurements, elapsed),
               exit_code);
}

}  // namespace

Command AddLoadCommand(CLI::App& program) {
  CLI::App* app = program.add_subcommand("load", "Measure the server under a closed loop of calls");
  app->footer(
      "Rates and latencies are those of the calls that succeeded. After a failed call there is a\n"
      "pause of 10 ms to 1 s. Ctrl-C ends the test early and prints what was measured, with the\n"
      "exit code of a test that ran to its end.");
  auto flags = std::make_shared<LoadFlags>();
  app->add_option("--concurrency", flags->loop.concurrency, "Calls in flight")
      ->capture_default_str()
      ->group(kLoad)
      ->check(WholeNumber(1, 65'536));
  AddDurationFlag(*app, "--duration", flags->loop.duration, "How long to start calls [10s]")
      ->group(kLoad);
  app->add_option("--calls", flags->loop.max_calls, "Most calls [no limit but --duration]")
      ->group(kLoad)
      ->check(WholeNumber(1));
  app->add_option("--channels", flags->channels,
                  "Connections that the calls share [one for every 200 of --concurrency]")
      ->group(kLoad)
      ->check(WholeNumber(1, 1024));
  AddPlaneFlag(*app, flags->plane)->group(kLoad);
  app->add_option("--rows", flags->workload.rows, "Rows per call")
      ->capture_default_str()
      ->group(kLoad)
      ->check(WholeNumber(1, UINT32_MAX));
  app->add_option("--vocab", flags->workload.vocab, "Tokens per row")
      ->capture_default_str()
      ->group(kLoad)
      ->check(WholeNumber(1, UINT32_MAX));
  AddDataTypeFlag(*app, flags->dtype, "Element type of the generated logits [f32]")->group(kLoad);
  app->add_option("--seed", flags->workload.seed, "Seed of the logits and of the draws")
      ->capture_default_str()
      ->group(kLoad)
      ->check(WholeNumber())
      ->transform(WithoutQuotes());
  AddSamplingFlags(*app, flags->sampling);
  AddFormatFlag(*app, flags->format);
  AddConnectionFlags(*app, flags->connection, absl::Seconds(30));
  return {app, [flags] { return RunLoad(*flags); }};
}

}  // namespace token_sampler::client
