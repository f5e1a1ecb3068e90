// The CUDA sampler, its kernels run by the emulation of tests/simt, against the reference.

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "cuda/job_plan.h"
#include "sampler/reference_sampler.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/random_batch.h"
#include "tests/golden/golden_file.h"
#include "tests/simt/machine.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler::testing {
namespace {

// What a device can be like: with clusters or without, with much shared memory or little, busy or
// not. Each leads to other shapes of a launch.
struct MachineCase {
  const char* name;
  int major;
  int multiprocessors;
  size_t shared_bytes;
  uint64_t schedule;  // of the emulation's threads
};

void PrintTo(const MachineCase& machine, std::ostream* os) { *os << machine.name; }

constexpr MachineCase kMachines[] = {
    {"Hopper", 9, 132, size_t{227} << 10, 0},
    {"HopperInAnotherOrderOfThreads", 9, 132, size_t{227} << 10, 1},
    {"OneBlockPerRow", 9, 1, size_t{227} << 10, 2},
    {"LittleSharedMemory", 9, 16, size_t{48} << 10, 3},
    {"NoClusters", 8, 108, size_t{163} << 10, 4},
};

class CudaConformanceTest : public ::testing::TestWithParam<MachineCase> {
 protected:
  CudaConformanceTest() {
    simt::ResetMachine();
    simt::Device device;
    device.major = GetParam().major;
    device.multiprocessors = GetParam().multiprocessors;
    device.shared_bytes = GetParam().shared_bytes;
    simt::SetDevices({device});
    simt::SetSchedule(GetParam().schedule);
    sampler_ = CreateCudaSampler({.buffer_bytes = size_t{4} << 20}).value();
  }
  ~CudaConformanceTest() override {
    sampler_.reset();
    EXPECT_EQ(simt::LiveObjects(), 0u);
    simt::ResetMachine();
  }

  std::unique_ptr<Sampler> sampler_;
};

// Keeps the values of the rows and gives them parameters that the kernel takes.
void LeaveToKernel(uint64_t seed, RandomBatch& batch) {
  std::mt19937_64 random(seed);
  const auto one_in = [&random](uint64_t n) { return random() % n == 0; };
  const auto fraction = [&random] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  for (auto& row : batch.rows) {
    SamplingParams& params = row->params;
    params = {};
    if (row->input.kind == InputKind::kLogits && !one_in(3)) {
      params.temperature = one_in(6) ? 0.0 : 0.05 + 2.0 * fraction();
    }
    if (one_in(2)) {
      params.top_k = static_cast<uint32_t>(1 + random() % (one_in(3) ? 5000 : 80));
    }
    if (one_in(2)) params.top_p = one_in(8) ? 0.0 : one_in(3) ? 1.0 - 1e-6 : fraction();
    if (one_in(3)) params.min_p = one_in(8) ? 1.0 : fraction() * fraction() * fraction();
    if (one_in(3)) {
      params.replacement = true;
      params.num_samples = static_cast<uint32_t>(1 + random() % 20);
    }
    constexpr StageOrder kOrders[] = {
        kVllmOrder, kHfOrder, kLlamaCppOrder, kSglangOrder,
        StageOrder(Stage::kTopP, Stage::kMinP, Stage::kTemperature, Stage::kTopK)};
    params.stage_order = kOrders[random() % std::size(kOrders)];
    row->input.outputs = nullptr;
    row->input.history = nullptr;
    row->input.bitmask = nullptr;
    row->input.state = nullptr;
    ASSERT_TRUE(cuda::KernelTakes(row->input));
  }
}

TEST_P(CudaConformanceTest, ShortRows) {
  for (int i = 0; i < 12 * ConformanceScale(); ++i) {
    SCOPED_TRACE(i);
    RandomBatch batch = MakeRandomBatch(300'000 + static_cast<uint64_t>(i), 20, 300);
    LeaveToKernel(static_cast<uint64_t>(i), batch);
    const uint64_t kernels = simt::KernelCount();
    ExpectSameAsReference(batch, *sampler_);
    if (HasFatalFailure()) return;
    EXPECT_GT(simt::KernelCount(), kernels);
  }
}

TEST_P(CudaConformanceTest, RowsOfAllLengths) {
  for (int i = 0; i < 8 * ConformanceScale(); ++i) {
    SCOPED_TRACE(i);
    RandomBatch batch = MakeRandomBatch(400'000 + static_cast<uint64_t>(i), 6, 20'000);
    LeaveToKernel(static_cast<uint64_t>(i), batch);
    ExpectSameAsReference(batch, *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaConformanceTest, LongRows) {
  uint64_t seed = 500'000;
  for (int i = 0; i < ConformanceScale(); ++i) {
    for (const int64_t vocab : {32'000, 50'257, 128'256, 151'936, 262'144, 524'288}) {
      SCOPED_TRACE(++seed);
      RandomBatch batch = MakeRandomRow(seed, vocab);
      LeaveToKernel(seed, batch);
      ExpectSameAsReference(batch, *sampler_);
      if (HasFatalFailure()) return;
    }
  }
}

// Whatever the kernel does not take is sampled all the same.
TEST_P(CudaConformanceTest, RowsOfEveryFeature) {
  for (int i = 0; i < 10 * ConformanceScale(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeRandomBatch(600'000 + static_cast<uint64_t>(i), 20, 300), *sampler_);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Emulated, CudaConformanceTest, ::testing::ValuesIn(kMachines),
                         [](const auto& test) { return std::string(test.param.name); });

// A fiber costs the sanitizers' build much more.
constexpr size_t kGoldenStride = kSanitized ? 16 : 1;

TEST(CudaGoldenTest, GivesEveryTokenOfTheGoldenFile) {
  const std::vector<GoldenCase> every =
      ReadGoldenFile(TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt");
  ASSERT_GE(every.size(), 8000u);
  std::vector<GoldenCase> cases;
  for (size_t i = 0; i < every.size(); i += kGoldenStride) cases.push_back(every[i]);
  simt::ResetMachine();
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  const auto tokens = SampleGoldenCases(cases, *sampler);
  for (size_t i = 0; i < cases.size(); ++i) {
    ASSERT_EQ(tokens[i], cases[i].token_ids) << FormatGoldenCase(cases[i]);
  }
}

}  // namespace
}  // namespace token_sampler::testing
