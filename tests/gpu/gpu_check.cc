// The CUDA sampler on this machine's devices against the CPU sampler and known answers. Needs a
// driver and the golden file alone, so that it can be carried to a machine without a compiler.
// Linked with tests/simt it runs without a device.

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "cuda/launch/cuda_handles.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/cpu/cpu_sampler.h"
#include "tests/conformance/direct_launch.h"
#include "tests/conformance/kernel_rows.h"
#include "tests/conformance/path_rows.h"
#include "tests/conformance/random_batch.h"
#include "tests/conformance/row_difference.h"
#include "tests/conformance/tiny_rows.h"
#include "tests/golden/golden_file.h"
#include "tests/gpu/device_rows.h"
#include "tests/gpu/ipc_check.h"
#include "tests/gpu/launch_shapes.h"
#include "tests/gpu/pinned_check.h"
#include "tests/gpu/weight_checksum.h"

namespace token_sampler::testing {
namespace {

constexpr const char kUsage[] =
    "Usage: token-sampler-gpu-check GOLDEN_FILE [--rows N] [--seconds N] [--first-batch N] "
    "[--threads N] [--quick]\n"
    "       token-sampler-gpu-check --shapes | --card\n"
    "  --rows N         random rows to compare with the CPU sampler (default: 1000000)\n"
    "  --seconds N      after which no random row begins, counted from the start of the program\n"
    "  --first-batch N  of the random rows (default: 1), to go on with others\n"
    "  --threads N      that call the sampler at once (default: one per core)\n"
    "  --quick          parts of the checks before the random rows, for slow tools\n"
    "  --shapes         prints what launches an H100 or H200 would be given, and checks nothing\n"
    "  --card           prints what the device is and what launches it is given, likewise\n";

struct Options {
  std::string golden_file;
  std::chrono::steady_clock::time_point end = std::chrono::steady_clock::time_point::max();
  uint64_t rows = 1'000'000;
  uint64_t first_batch = 1;
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  bool quick = false;
};

// One line per check.
bool Report(const char* name, uint64_t count, const char* of_what, const std::string& difference) {
  std::printf("%-10s %8llu %-14s %s\n", name, static_cast<unsigned long long>(count), of_what,
              difference.empty() ? "same" : difference.c_str());
  std::fflush(stdout);
  return difference.empty();
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(EXIT_FAILURE);
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

void Check(cudaError_t error, const char* call) { Check(cuda::ToStatus(error, call)); }

uint64_t HostChecksum(WeightScale scale, uint32_t first, uint32_t last) {
  uint64_t sum = 0;
  for (uint64_t bits = first; bits <= last; ++bits) {
    sum += LogitWeight(std::bit_cast<float>(static_cast<uint32_t>(bits)), scale) * (2 * bits + 1);
  }
  return sum;
}

// The known sums of the weight function: those of weight_checksum_test.cc.
bool CheckWeights(bool quick) {
  struct Known {
    double temperature;
    uint64_t sum;
  };
  constexpr Known kKnown[] = {{1.0, 0x8b3527c29dcb488e},
                              {0.7, 0xd8bb96e98e6545fa},
                              {1.3, 0xe93b6e3edcc4b9a8},
                              {0.05, 0x8272e90b7603f3c4}};
  constexpr uint32_t kQuickCount = 100'000;
  cuda::Stream stream;
  cuda::DeviceArray<unsigned long long> on_device;
  Check(cuda::Create(stream));
  Check(cuda::Allocate(1, on_device));
  std::string difference;
  uint64_t count = 0;
  for (const Known& known : kKnown) {
    const WeightScale scale = MakeWeightScale(known.temperature, 44);
    uint32_t first = 0xab8cbccc;
    auto last =
        std::bit_cast<uint32_t>(static_cast<float>(-46.0 * 0.6931471805599453 * known.temperature));
    uint64_t expected = known.sum;
    if (quick) {
      first = std::bit_cast<uint32_t>(-1.0f);
      last = first + kQuickCount - 1;
      expected = HostChecksum(scale, first, last);
    }
    unsigned long long sum = 0;
    Check(cudaMemsetAsync(on_device.get(), 0, sizeof(sum), stream.get()), "cudaMemsetAsync");
    Check(LaunchWeightChecksum(scale, first, last, on_device.get(), stream.get()),
          "launch of AddChecksum");
    Check(cudaStreamSynchronize(stream.get()), "cudaStreamSynchronize");
    Check(cudaMemcpy(&sum, on_device.get(), sizeof(sum), cudaMemcpyDeviceToHost), "cudaMemcpy");
    count += uint64_t{last} - first + 1;
    if (sum != expected) difference = "differs at temperature " + std::to_string(known.temperature);
  }
  return Report("weights", count, "floats", difference);
}

bool CheckGolden(const Options& options, Sampler& cuda) {
  std::vector<GoldenCase> cases;
  const std::vector<GoldenCase> every = ReadGoldenFile(options.golden_file);
  for (size_t i = 0; i < every.size(); i += options.quick ? 64 : 1) cases.push_back(every[i]);
  const auto tokens = SampleGoldenCases(cases, cuda);
  std::string difference;
  for (size_t i = 0; i < cases.size() && difference.empty(); ++i) {
    if (tokens[i] != cases[i].token_ids) difference = "differs: " + FormatGoldenCase(cases[i]);
  }
  return Report("golden", cases.size(), "cases", difference);
}

// Mostly many short rows, half as often tiny ones, then some of all lengths, now and then a very
// long one; two thirds of them such that the kernel takes them.
RandomBatch MakeBatch(uint64_t seed) {
  constexpr int64_t kLong[] = {32'000, 50'257, 128'256, 151'936, 262'144, 524'288};
  RandomBatch batch = seed % 250 == 7  ? MakeRandomRow(seed, kLong[seed / 250 % std::size(kLong)])
                      : seed % 10 == 3 ? MakeRandomBatch(seed, 6, 20'000)
                      : seed % 10 < 3  ? MakeTinyRows(seed, 20)
                                       : MakeRandomBatch(seed, 20, 300);
  if (seed % 3 != 0) LeaveToKernel(seed, batch);
  return batch;
}

std::vector<RowResult> Sample(const std::vector<RowInput>& inputs, Sampler& sampler) {
  std::vector<RowResult> results(inputs.size());
  Check(sampler.Sample(inputs, absl::MakeSpan(results)));
  return results;
}

// In what the batch of a seed differs, from the host or, of every second batch, in the device's
// memory.
std::string BatchDifference(uint64_t seed, Sampler& cuda, Sampler& cpu, DeviceBytes& on_device,
                            uint64_t& rows) {
  const RandomBatch batch = MakeBatch(seed);
  std::vector<RowInput> inputs = batch.Inputs();
  rows += inputs.size();
  const std::vector<RowResult> expected = Sample(inputs, cpu);
  if (seed % 2 != 0) {
    const RowLayout layout = LayOutRows(inputs, seed);
    Check(on_device.Put(layout.bytes));
    inputs = RowsIn(on_device, inputs, layout);
  }
  std::vector<size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  std::vector<RowInput> given;
  given.reserve(order.size());
  for (const size_t i : order) given.push_back(inputs[i]);
  const std::vector<RowResult> actual = Sample(given, cuda);
  for (size_t i = 0; i < order.size(); ++i) {
    const std::string difference = RowDifference(actual[i], expected[order[i]]);
    if (difference.empty()) continue;
    return "differs in " + difference + ": seed " + std::to_string(seed) + ", " +
           batch.rows[order[i]]->description;
  }
  return "";
}

bool CheckRandomRows(const Options& options, Sampler& cuda) {
  std::atomic<uint64_t> next_seed = options.first_batch;
  std::atomic<uint64_t> done = 0;
  std::mutex mutex;
  std::string difference;  // guarded by mutex
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([&] {
      const std::unique_ptr<Sampler> cpu = CreateCpuSampler({.threads = 1}).value();
      DeviceBytes on_device;
      while (done < options.rows && std::chrono::steady_clock::now() < options.end) {
        uint64_t rows = 0;
        const std::string found = BatchDifference(next_seed++, cuda, *cpu, on_device, rows);
        done += rows;
        if (found.empty()) continue;
        done = options.rows;
        const std::lock_guard<std::mutex> lock(mutex);
        difference = found;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return Report("random", done, "rows", difference);
}

// A row gives the same tokens alone and among any number of others.
bool CheckBatchSizes(const Options& options, Sampler& cuda) {
  constexpr uint64_t kSeed = 1'000'001;
  const size_t rows = options.quick ? 70 : 300;
  RandomBatch batch = MakeRandomBatch(kSeed, rows, 3'000);
  LeaveToKernel(kSeed, batch);
  const std::vector<RowInput> inputs = batch.Inputs();
  const std::vector<RowResult> whole = Sample(inputs, cuda);
  std::string difference;
  for (const size_t size : {size_t{1}, size_t{2}, size_t{7}, size_t{64}, size_t{150}}) {
    for (size_t begin = 0; begin < rows; begin += size) {
      const auto first = inputs.begin() + static_cast<int64_t>(begin);
      const size_t count = std::min(size, rows - begin);
      const auto part = Sample({first, first + static_cast<int64_t>(count)}, cuda);
      for (size_t i = 0; i < count; ++i) {
        if (RowDifference(part[i], whole[begin + i]).empty()) continue;
        difference = "differs in batches of " + std::to_string(size);
      }
    }
  }
  return Report("batches", 5, "sizes", difference);
}

// The kernel in every shape of launch, whatever the sampler would choose on this device. Of long
// rows some fit no shared memory.
bool CheckPaths(const Options& options, Sampler& cpu) {
  const size_t one_in = options.quick ? 32 : 1;
  std::vector<RandomBatch> batches;
  batches.push_back(MakeElementRows(301));
  batches.push_back(MakeStageRows());
  batches.push_back(MakeBoundaryRows());
  batches.push_back(MakeFailingRows());
  uint64_t rows = 0;
  std::string difference;
  for (const RandomBatch& batch : batches) {
    if (difference.empty()) difference = Value(LaunchDifference(batch, cpu, one_in));
    rows += batch.rows.size() / one_in;
  }
  for (const int64_t vocab : {128'256, 524'288}) {
    if (difference.empty()) difference = Value(LaunchDifference(MakeLongRow(vocab), cpu, 1));
    ++rows;
  }
  return Report("paths", rows, "rows per shape", difference);
}

// Rows of every length that models have, as the sampler lays them out.
bool CheckLongRows(Sampler& cuda, Sampler& cpu) {
  constexpr int64_t kVocabs[] = {32'000, 50'257, 128'256, 151'936, 262'144, 524'288};
  std::string difference;
  DeviceBytes on_device;
  for (const int64_t vocab : kVocabs) {
    const RandomBatch batch = MakeLongRow(vocab);
    const std::vector<RowInput> inputs = batch.Inputs();
    const RowLayout layout = LayOutRows(inputs, static_cast<uint64_t>(vocab));
    Check(on_device.Put(layout.bytes));
    const RowResult expected = Sample(inputs, cpu)[0];
    const std::vector<RowInput> there = RowsIn(on_device, inputs, layout);
    for (const std::vector<RowInput>& given : {inputs, there}) {
      if (RowDifference(Sample(given, cuda)[0], expected).empty()) continue;
      difference = "differs: " + batch.rows[0]->description;
    }
  }
  return Report("long", std::size(kVocabs), "lengths", difference);
}

// Reports a check of memory that another process or the system shares with the device. A refusal is
// no failure.
bool ReportShared(const char* name, uint64_t rows, const absl::StatusOr<std::string>& difference) {
  const std::string message(difference.status().message());
  if (!absl::IsUnimplemented(difference.status())) {
    return Report(name, rows, "rows", difference.ok() ? *difference : message);
  }
  std::printf("skipped: %s, refused: %s\n", name, message.c_str());
  std::fflush(stdout);
  return true;
}

int Main(const Options& options) {
  const absl::StatusOr<std::unique_ptr<Sampler>> cuda = CreateCudaSampler();
  if (!cuda.ok()) {
    std::fprintf(stderr, "%s\n", std::string(cuda.status().message()).c_str());
    return EXIT_FAILURE;
  }
  std::printf("%s\n", (*cuda)->device().c_str());
  const std::unique_ptr<Sampler> cpu = Value(CreateCpuSampler({.threads = 1}));
  bool same = CheckWeights(options.quick);
  same &= CheckGolden(options, **cuda);
  same &= CheckPaths(options, *cpu);
  same &= CheckLongRows(**cuda, *cpu);
  same &= CheckBatchSizes(options, **cuda);
  same &= CheckRandomRows(options, **cuda);
  same &= ReportShared("ipc", kIpcRows, IpcDifference(**cuda, *cpu));
  same &= ReportShared("pinned", kPinnedRows, PinnedDifference(**cuda, *cpu));
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}

int ReportCard() {
  Check(PrintCard());
  return EXIT_SUCCESS;
}

[[noreturn]] void FailWithUsage() {
  std::fputs(kUsage, stderr);
  std::exit(2);
}

uint64_t Number(const char* text) {
  char* end = nullptr;
  const uint64_t number = text == nullptr ? 0 : std::strtoull(text, &end, 10);
  if (number == 0 || *end != '\0') FailWithUsage();
  return number;
}

Options ParseOptions(char** arguments) {
  const auto began = std::chrono::steady_clock::now();
  Options options;
  for (; *arguments != nullptr; ++arguments) {
    const std::string argument = *arguments;
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--rows") {
      options.rows = Number(*++arguments);
    } else if (argument == "--seconds") {
      options.end = began + std::chrono::seconds(Number(*++arguments));
    } else if (argument == "--first-batch") {
      options.first_batch = Number(*++arguments);
    } else if (argument == "--threads") {
      options.threads = static_cast<unsigned>(Number(*++arguments));
    } else if (options.golden_file.empty() && argument[0] != '-') {
      options.golden_file = argument;
    } else {
      FailWithUsage();
    }
  }
  if (options.golden_file.empty()) FailWithUsage();
  return options;
}

}  // namespace
}  // namespace token_sampler::testing

int main(int count, char** argv) {
  namespace testing = token_sampler::testing;
  if (count == 2 && std::strcmp(argv[1], testing::kIpcOwnerArgument) == 0) {
    return testing::RunIpcOwner();
  }
  if (count == 2 && std::strcmp(argv[1], "--shapes") == 0) {
    testing::PrintShapes();
    return EXIT_SUCCESS;
  }
  if (count == 2 && std::strcmp(argv[1], "--card") == 0) return testing::ReportCard();
  return testing::Main(testing::ParseOptions(argv + 1));
}
