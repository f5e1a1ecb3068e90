// Measures what each way to send logits costs: shared memory against an empty call, inline tensors
// against a bare gRPC sink, and both with candidates end to end. Server and client share this
// process and one TCP connection. Numbers are medians, and ratios are of medians of the same run.

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/cpu/threads/row_threads.h"
#include "sampler/cpu/threads/thread_pool.h"
#include "sampler/cpu/threads/usable_cpus.h"
#include "sampler/rows/row_source.h"
#include "server/program/server.h"
#include "token_sampler/sampler_client.h"
#include "token_sampler/shared_region.h"

namespace token_sampler {
namespace {

// Returns token 0 for every row, so that only the transport is measured, and the reading of rows
// that must be read. Reads them like the CPU sampler: as many threads as it would use take rows in
// turn, and copy each into a buffer that they keep.
class NullSampler final : public Sampler {
 public:
  explicit NullSampler(bool reads) : reads_(reads) {}

  absl::string_view name() const override { return "null"; }
  std::string device() const override { return "none"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    if (!reads_) {
      for (RowResult& result : results) {
        result.Clear();
        result.token_ids = {0};
      }
      return absl::OkStatus();
    }
    std::atomic<size_t> next = 0;
    pool_.ForEach(cpu::ThreadsForRows(rows, values_.size()), [&](size_t reader) {
      for (size_t i = next++; i < rows.size(); i = next++)
        Read(rows[i], values_[reader], results[i]);
    });
    return absl::OkStatus();
  }

 private:
  static void Read(const RowInput& row, std::vector<char>& values, RowResult& result) {
    result.Clear();
    if (row.source != nullptr) {
      values.resize(std::max(values.size(), ValueBytes(row)));
      if (!ReadValues(row, values.data(), result)) return;
    }
    result.token_ids = {0};
  }

  const bool reads_;
  cpu::ThreadPool pool_{cpu::FindUsableCpus().count};
  std::vector<std::vector<char>> values_{static_cast<size_t>(pool_.threads())};  // one per thread
};

// Accepts any message and answers with an empty one.
class Sink final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Call;
  }

 private:
  class Call final : public grpc::ServerGenericBidiReactor {
   public:
    Call() { StartRead(&message_); }
    void OnReadDone(bool) override { StartWriteAndFinish(&answer_, {}, grpc::Status::OK); }
    void OnDone() override { delete this; }

   private:
    grpc::Slice nothing_;
    grpc::ByteBuffer message_;
    grpc::ByteBuffer answer_{&nothing_, 1};
  };
};

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

// Returns the medians, in microseconds, of calls that take turns, so that noise affects all of
// them.
std::vector<double> Medians(const std::vector<std::function<void()>>& calls, int rounds) {
  std::vector<std::vector<double>> times(calls.size());
  for (int round = -2; round < rounds; ++round) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      calls[i]();
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - begin;
      if (round >= 0) times[i].push_back(took.count());
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& of_call : times) {
    const auto middle = of_call.begin() + static_cast<int64_t>(of_call.size() / 2);
    std::nth_element(of_call.begin(), middle, of_call.end());
    medians.push_back(*middle);
  }
  return medians;
}

struct Service {
  explicit Service(Sampler& sampler) {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.regions.kinds = "system";
    options.batcher.num_executors = 1;
    auto started = Server::Start(options, sampler);
    Check(started.status());
    server = *std::move(started);
    auto connected = client::SamplerClient::Connect(server->addresses()[0]);
    Check(connected.status());
    client = std::make_unique<client::SamplerClient>(*std::move(connected));
    channel = grpc::CreateChannel(server->addresses()[0], grpc::InsecureChannelCredentials());
  }

  std::unique_ptr<Server> server;
  std::unique_ptr<client::SamplerClient> client;
  std::shared_ptr<grpc::Channel> channel;
};

client::SampleRequest Request(const client::Matrix& matrix) {
  client::SampleRequest request;
  request.matrix = matrix;
  request.params = {{.top_k = 50, .top_p = 0.9}};
  request.keys.seeds = {1};
  return request;
}

std::shared_ptr<std::vector<float>> Logits(int64_t rows, int64_t vocab) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(rows * vocab));
  std::generate(values->begin(), values->end(), [&] { return normal(random); });
  return values;
}

// Returns the same numbers truncated to bfloat16.
std::shared_ptr<std::vector<uint16_t>> UpperHalves(const std::vector<float>& values) {
  auto halves = std::make_shared<std::vector<uint16_t>>();
  for (const float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    halves->push_back(static_cast<uint16_t>(bits >> 16));
  }
  return halves;
}

client::Matrix Inline(const std::shared_ptr<std::vector<float>>& values, int64_t vocab) {
  client::Matrix matrix = client::Float32Matrix(*values, vocab);
  matrix.owner = values;
  return matrix;
}

std::function<void()> Call(const Service& service, const client::SampleRequest& request) {
  const auto encoded = client::EncodedRequest::Create(request);
  Check(encoded.status());
  return [&service, encoded = *encoded] {
    std::promise<absl::Status> done;
    service.client->SampleAsync(encoded, [&](const absl::StatusOr<client::SampleResult>& result) {
      done.set_value(result.status());
    });
    Check(done.get_future().get());
  };
}

void PrintSharedMemory(Service& service) {
  std::printf("Shared memory, no sampling, 1 token per row, against an empty call\n");
  std::printf("%6s %12s %12s %8s\n", "rows", "empty us", "shared us", "ratio");
  auto region = client::SharedRegion::Create(*service.client, 4096);
  Check(region.status());
  for (const int64_t rows : {1, 8, 64}) {
    const auto shared = region->Rows(0, client::DataType::kFloat32, rows, 1);
    client::SampleRequest request = Request(shared);
    const auto empty = [&] { Check(service.client->GetServerInfo().status()); };
    const std::vector<double> medians = Medians({empty, Call(service, request)}, 2000);
    std::printf("%6d %12.1f %12.1f %8.2f\n", static_cast<int>(rows), medians[0], medians[1],
                medians[1] / medians[0]);
  }
}

void PrintInline(const Service& unread, const Service& read) {
  Sink sink;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterCallbackGenericService(&sink);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  const auto print = [&](const client::Matrix& matrix) {
    const grpc::Slice slice(matrix.values, matrix.byte_size, grpc::Slice::STATIC_SLICE);
    const grpc::ByteBuffer message(&slice, 1);
    const auto to_sink = [&] {
      grpc::ClientContext context;
      // The client's calls also have a deadline.
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
      grpc::GenericStub stub(channel);
      grpc::ByteBuffer answer;
      std::promise<void> done;
      stub.UnaryCall(&context, "/sink/Take", {}, &message, &answer,
                     [&](const grpc::Status&) { done.set_value(); });
      done.get_future().get();
    };
    const client::SampleRequest request = Request(matrix);
    const std::vector<double> medians = Medians(
        {to_sink, Call(unread, request), Call(read, request)}, matrix.rows > 8 ? 200 : 2000);
    std::printf("%8s %6d %8.2f %9.0f %10.0f %7.2f %10.0f %7.2f\n",
                matrix.dtype == client::DataType::kFloat32 ? "float32" : "bfloat16",
                static_cast<int>(matrix.rows), static_cast<double>(matrix.byte_size) / (1 << 20),
                medians[0], medians[1], medians[1] / medians[0], medians[2],
                medians[2] / medians[0]);
  };
  std::printf("\nInline, no sampling, against a gRPC sink of the same bytes\n");
  std::printf("%8s %6s %8s %9s %10s %7s %10s %7s\n", "", "rows", "MB", "sink us", "inline us",
              "ratio", "and read", "ratio");
  print(Inline(Logits(1, 256), 256));
  constexpr int64_t kVocab = 131'072;
  for (const int64_t rows : {1, 4, 16, 64}) print(Inline(Logits(rows, kVocab), kVocab));
  for (const int64_t rows : {1, 4, 16, 64}) {
    const auto values = UpperHalves(*Logits(rows, kVocab));
    client::Matrix matrix = client::BFloat16Matrix(*values, kVocab);
    matrix.owner = values;
    print(matrix);
  }
}

// Makes a request with the `count` likeliest tokens of each row.
v1::SampleRequest Candidates(const std::vector<float>& values, size_t vocab, size_t count) {
  v1::SampleRequest request;
  v1::Tensor& tensor = *request.mutable_tensor();
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.set_rows(static_cast<uint32_t>(values.size() / vocab));
  tensor.set_vocab(static_cast<uint32_t>(vocab));
  v1::Candidates& candidates = *tensor.mutable_candidates();
  std::vector<uint32_t> ids(vocab);
  for (size_t begin = 0; begin < values.size(); begin += vocab) {
    const float* row = values.data() + begin;
    std::iota(ids.begin(), ids.end(), 0u);
    std::partial_sort(ids.begin(), ids.begin() + static_cast<int64_t>(count), ids.end(),
                      [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
    candidates.add_lengths(static_cast<uint32_t>(count));
    for (size_t i = 0; i < count; ++i) {
      candidates.add_token_ids(ids[i]);
      candidates.mutable_values()->append(reinterpret_cast<const char*>(row + ids[i]),
                                          sizeof(float));
    }
  }
  v1::SamplingParams& params = *request.add_params();
  params.set_top_k(50);
  params.set_top_p(0.9);
  request.mutable_keys()->add_seeds(1);
  return request;
}

void PrintEndToEnd(Service& service) {
  constexpr int64_t kRows = 64;
  constexpr int64_t kVocab = 128'256;
  const auto values = Logits(kRows, kVocab);
  const size_t bytes = values->size() * sizeof(float);
  auto region = client::SharedRegion::Create(*service.client, bytes);
  Check(region.status());
  std::memcpy(region->data(), values->data(), bytes);
  const v1::SampleRequest candidates = Candidates(*values, kVocab, 64);
  const auto stub = v1::TokenSampler::NewStub(service.channel);
  const auto send_candidates = [&] {
    grpc::ClientContext context;
    v1::SampleResponse response;
    const grpc::Status status = stub->Sample(&context, candidates, &response);
    if (!status.ok()) Check(absl::InternalError(status.error_message()));
  };
  const std::vector<double> medians =
      Medians({Call(service, Request(Inline(values, kVocab))),
               Call(service, Request(region->Rows(0, client::DataType::kFloat32, kRows, kVocab))),
               send_candidates},
              40);
  std::printf("\n64 x 128,256 float32, top-k 50, top-p 0.9, CPU sampler, end to end\n");
  std::printf("%14s %12s %12s %10s\n", "", "us", "bytes sent", "faster");
  const size_t sent[] = {bytes, 64, candidates.ByteSizeLong()};
  const char* names[] = {"inline", "shared memory", "64 candidates"};
  for (size_t i = 0; i < medians.size(); ++i) {
    std::printf("%14s %12.0f %12zu %9.1fx\n", names[i], medians[i], sent[i],
                medians[0] / medians[i]);
  }
}

int Main() {
  {
    NullSampler unread(false);
    NullSampler read(true);
    Service unread_service(unread);
    Service read_service(read);
    PrintSharedMemory(read_service);
    PrintInline(unread_service, read_service);
  }
  auto cpu = CreateCpuSampler({});
  Check(cpu.status());
  Service service(**cpu);
  PrintEndToEnd(service);
  return 0;
}

}  // namespace
}  // namespace token_sampler

int main() { return token_sampler::Main(); }
