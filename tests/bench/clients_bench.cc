// Measures how many calls of one row per second the server answers when many are in flight, and
// compares it with a bare gRPC server: a callback service that parses the same request and answers
// one token. Each server has its own process; one client calls them in turns, so that noise affects
// both.
//
// Usage: token-sampler-clients-bench [SECONDS_OF_EACH]

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler {
namespace {

constexpr int kCallsInFlight = 64;
constexpr int kChannels = 4;
constexpr uint32_t kVocab = 256;
constexpr std::chrono::milliseconds kTurn{250};

class BareService final : public v1::TokenSampler::CallbackService {
 public:
  grpc::ServerUnaryReactor* Sample(grpc::CallbackServerContext* context,
                                   const v1::SampleRequest* request,
                                   v1::SampleResponse* response) override {
    response->add_token_counts(1);
    response->add_token_ids(static_cast<uint32_t>(request->tensor().data().size()));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// Writes its address to a file, like the server, and serves until it is killed.
int ServeBare(const std::string& address_file) {
  BareService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::ofstream(address_file) << "127.0.0.1:" << port << std::endl;
  server->Wait();
  return EXIT_SUCCESS;
}

// Waits for the files to which servers write their addresses.
class AddressWatch {
 public:
  // Construct it before starting the servers that write to files of the folder.
  explicit AddressWatch(const std::string& folder) : events_(inotify_init1(IN_CLOEXEC)) {
    if (inotify_add_watch(events_, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
      std::exit(EXIT_FAILURE);
    }
  }
  AddressWatch(const AddressWatch&) = delete;
  AddressWatch& operator=(const AddressWatch&) = delete;
  ~AddressWatch() { close(events_); }

  // Returns the line in the file. Exits if no file is written for ten seconds.
  std::string Await(const std::string& file) {
    constexpr int kTimeoutMs = 10'000;
    for (;;) {
      std::string address;
      std::ifstream in(file);
      if (std::getline(in, address) && !in.eof()) return address;
      pollfd ready = {events_, POLLIN, 0};
      char events[4096];
      if (poll(&ready, 1, kTimeoutMs) != 1 || read(events_, events, sizeof(events)) <= 0) {
        std::exit(EXIT_FAILURE);
      }
    }
  }

 private:
  const int events_;
};

// A server in its own process, and calls to it.
class Side {
 public:
  // Starts `command`, which must write the server's address to `address_file`.
  Side(AddressWatch& watch, const std::vector<std::string>& command,
       const std::string& address_file) {
    process_ = fork();
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::vector<char*> arguments;
      for (const std::string& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
      }
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      std::_Exit(EXIT_FAILURE);
    }
    const std::string address = watch.Await(address_file);
    for (int i = 0; i < kChannels; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // one connection per channel
      stubs_.push_back(std::make_unique<grpc::GenericStub>(
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
    }
  }

  // Makes calls for the length of a turn. Exits if one fails.
  void Turn(const grpc::ByteBuffer& request) {
    const uint64_t cpu_before = CpuMicroseconds();
    const auto begin = std::chrono::steady_clock::now();
    const auto end = begin + kTurn;
    std::atomic<uint64_t> calls = 0;
    std::vector<std::future<void>> callers;
    std::vector<std::unique_ptr<Caller>> states;
    for (int i = 0; i < kCallsInFlight; ++i) {
      states.push_back(std::unique_ptr<Caller>(
          new Caller{*stubs_[static_cast<size_t>(i % kChannels)], request, end, calls, {}, {}}));
      callers.push_back(states.back()->done.get_future());
      states.back()->Call();
    }
    for (std::future<void>& caller : callers) caller.get();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    rates.push_back(static_cast<double>(calls) / took.count());
    cpu.push_back(static_cast<double>(CpuMicroseconds() - cpu_before) / static_cast<double>(calls));
  }

  std::vector<double> rates;  // calls per second, of each turn
  std::vector<double> cpu;    // the server's microseconds per call, of each turn

 private:
  // One of the calls in flight: it is repeated as soon as it is answered.
  struct Caller {
    void Call() {
      const auto context = std::make_shared<grpc::ClientContext>();
      context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
      stub.UnaryCall(context.get(), "/token_sampler.v1.TokenSampler/Sample", {}, &request, &answer,
                     [this, context](const grpc::Status& status) {
                       if (!status.ok()) {
                         std::fprintf(stderr, "%s\n", status.error_message().c_str());
                         std::exit(EXIT_FAILURE);
                       }
                       ++calls;
                       if (std::chrono::steady_clock::now() >= end) return done.set_value();
                       Call();
                     });
    }

    grpc::GenericStub& stub;
    const grpc::ByteBuffer& request;
    const std::chrono::steady_clock::time_point end;
    std::atomic<uint64_t>& calls;
    grpc::ByteBuffer answer;
    std::promise<void> done;
  };

  uint64_t CpuMicroseconds() const {
    clockid_t clock;
    timespec time = {};
    if (clock_getcpuclockid(process_, &clock) != 0 || clock_gettime(clock, &time) != 0) {
      std::exit(EXIT_FAILURE);
    }
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 +
           static_cast<uint64_t>(time.tv_nsec) / 1000;
  }

  pid_t process_ = 0;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Returns the median ratio of each of our turns to the bare server's turn before it.
double MedianRatio(const std::vector<double>& ours, const std::vector<double>& bare) {
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / bare[i]);
  return Median(std::move(ratios));
}

grpc::ByteBuffer Request() {
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(1);
  tensor.set_vocab(kVocab);
  const std::vector<float> values(kVocab);
  tensor.mutable_data()->assign(reinterpret_cast<const char*>(values.data()),
                                values.size() * sizeof(float));
  v1::SamplingParams& params = *request.add_params();
  params.set_top_k(50);
  params.set_top_p(0.9);
  request.mutable_keys()->add_seeds(1);
  const grpc::Slice slice(request.SerializeAsString());
  return {&slice, 1};
}

int Main(double seconds) {
  std::string folder = std::filesystem::temp_directory_path() / "clients-bench-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return EXIT_FAILURE;
  const std::string bare_file = folder + "/bare";
  const std::string our_file = folder + "/ours";
  AddressWatch watch(folder);
  Side bare(watch, {"/proc/self/exe", "--bare", bare_file}, bare_file);
  Side ours(watch,
            {TOKEN_SAMPLER_SERVER_PROGRAM, "--listen=127.0.0.1:0", "--device=cpu",
             "--log-level=warn", "--address-file=" + our_file},
            our_file);
  std::filesystem::remove_all(folder);
  const grpc::ByteBuffer request = Request();
  const int turns = std::max(4, static_cast<int>(seconds * 1000) / static_cast<int>(kTurn.count()));
  for (int turn = -2; turn < turns; ++turn) {
    if (turn == 0) {
      for (Side* side : {&bare, &ours}) {
        side->rates.clear();
        side->cpu.clear();
      }
    }
    bare.Turn(request);
    ours.Turn(request);
  }
  std::printf("%d calls in flight on %d connections, 1 x %u float32 each\n", kCallsInFlight,
              kChannels, kVocab);
  std::printf("%8s %10s %22s\n", "", "calls/s", "server's us per call");
  const double rates[] = {Median(bare.rates), Median(ours.rates)};
  const double cpu[] = {Median(bare.cpu), Median(ours.cpu)};
  std::printf("%8s %10.0f %22.1f\n", "bare", rates[0], cpu[0]);
  std::printf("%8s %10.0f %22.1f\n", "ours", rates[1], cpu[1]);
  std::printf("%8s %10.2f %22.2f\n", "ratio", MedianRatio(ours.rates, bare.rates),
              MedianRatio(ours.cpu, bare.cpu));
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace token_sampler

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--bare") == 0) return token_sampler::ServeBare(argv[2]);
  return token_sampler::Main(argc > 1 ? std::atof(argv[1]) : 10);
}
