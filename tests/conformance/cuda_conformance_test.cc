// Compares the CUDA sampler, whose kernels the emulation of tests/simt runs, with the reference.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "cuda/plan/job_plan.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/kernel_rows.h"
#include "tests/conformance/random_batch.h"
#include "tests/conformance/tiny_rows.h"
#include "tests/golden/golden_file.h"
#include "tests/simt/machine.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler::testing {
namespace {

// A kind of device: with clusters or without, with much or little shared memory, busy or not. Each
// leads to different shapes of launches.
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

// Turns the batch into rows that the kernel samples.
RandomBatch ForKernel(uint64_t seed, RandomBatch batch) {
  LeaveToKernel(seed, batch);
  for (const auto& row : batch.rows) EXPECT_EQ(cuda::WhyNotKernel(row->input), "");
  return batch;
}

TEST_P(CudaConformanceTest, ShortRows) {
  for (int i = 0; i < RandomCases(12); ++i) {
    SCOPED_TRACE(i);
    const auto seed = static_cast<uint64_t>(i);
    const RandomBatch batch = ForKernel(seed, MakeRandomBatch(300'000 + seed, 20, 300));
    const uint64_t kernels = simt::KernelCount();
    ExpectSameAsReference(batch, *sampler_);
    if (HasFatalFailure()) return;
    EXPECT_GT(simt::KernelCount(), kernels);
  }
}

// Half of the batches are unchanged; the kernel may leave their rows to the CPU.
TEST_P(CudaConformanceTest, TinyRows) {
  for (int i = 0; i < RandomCases(40); ++i) {
    SCOPED_TRACE(i);
    const auto seed = static_cast<uint64_t>(i);
    RandomBatch batch = MakeTinyRows(700'000 + seed, 20);
    if (i % 2 == 0) batch = ForKernel(seed, std::move(batch));
    ExpectSameAsReference(batch, *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaConformanceTest, RowsOfAllLengths) {
  for (int i = 0; i < RandomCases(8); ++i) {
    SCOPED_TRACE(i);
    const auto seed = static_cast<uint64_t>(i);
    ExpectSameAsReference(ForKernel(seed, MakeRandomBatch(400'000 + seed, 6, 20'000)), *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaConformanceTest, LongRows) {
  uint64_t seed = 500'000;
  for (int i = 0; i < ConformanceScale(); ++i) {
    for (const int64_t vocab : {32'000, 50'257, 128'256, 151'936, 262'144, 524'288}) {
      SCOPED_TRACE(++seed);
      ExpectSameAsReference(ForKernel(seed, MakeRandomRow(seed, vocab)), *sampler_);
      if (HasFatalFailure()) return;
    }
  }
}

// Rows that the kernel does not support are sampled too.
TEST_P(CudaConformanceTest, RowsOfEveryFeature) {
  for (int i = 0; i < RandomCases(10); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeRandomBatch(600'000 + static_cast<uint64_t>(i), 20, 300), *sampler_);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Emulated, CudaConformanceTest, ::testing::ValuesIn(kMachines),
                         [](const auto& test) { return std::string(test.param.name); });

// The whole file takes minutes of switches between fibers, and many more in the sanitizers' build.
// Rows of kernel_paths_test.cc reach every path of the kernel; the file only adds values, all of
// which the test of the CPU sampler and the check on a GPU use. So does the nightly run, by its
// scale.
size_t GoldenStride() {
  const int stride = kSanitized ? 64 : 4;
  return static_cast<size_t>(std::max(1, stride / ConformanceScale()));
}

TEST(CudaGoldenTest, GivesEveryTokenOfTheGoldenFile) {
  const std::vector<GoldenCase> every =
      ReadGoldenFile(TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt");
  ASSERT_GE(every.size(), 8000u);
  std::vector<GoldenCase> cases;
  for (size_t i = 0; i < every.size(); i += GoldenStride()) cases.push_back(every[i]);
  simt::ResetMachine();
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  const auto tokens = SampleGoldenCases(cases, *sampler);
  for (size_t i = 0; i < cases.size(); ++i) {
    ASSERT_EQ(tokens[i], cases[i].token_ids) << FormatGoldenCase(cases[i]);
  }
}

}  // namespace
}  // namespace token_sampler::testing
