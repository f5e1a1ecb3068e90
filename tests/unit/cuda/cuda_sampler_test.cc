// Tests the host part of the CUDA sampler on the emulated runtime: what it reports of missing
// devices, how it splits and joins batches, and what it does when a call of the runtime fails.

#include "cuda/cuda_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sampler/reference/reference_sampler.h"
#include "tests/simt/machine.h"
#include "tests/testing/memory_source.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class CudaSamplerTest : public ::testing::Test {
 protected:
  CudaSamplerTest() { simt::ResetMachine(); }
  ~CudaSamplerTest() override {
    simt::ResetMachine();
    EXPECT_EQ(simt::LiveObjects(), 0u);
  }
};

// Rows of one vocabulary, each with its seed.
class Batch {
 public:
  Batch(size_t rows, size_t vocab) : values_(rows * vocab), inputs_(rows), results_(rows) {
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = static_cast<float>((i * 2654435761u) % 1000) * 0.01f;
    }
    for (size_t row = 0; row < rows; ++row) {
      inputs_[row].values = &values_[row * vocab];
      inputs_[row].vocab = static_cast<int64_t>(vocab);
      inputs_[row].params = &params_;
      inputs_[row].key = {.seed = row};
    }
  }

  float& Value(size_t index) { return values_[index]; }
  RowInput& Row(size_t row) { return inputs_[row]; }

  absl::Status Sample(Sampler& sampler) {
    return sampler.Sample(inputs_, absl::MakeSpan(results_));
  }

  void ExpectSameAsReference(Sampler& sampler) {
    const absl::Status status = Sample(sampler);
    ASSERT_TRUE(status.ok()) << status;
    std::vector<RowResult> expected(inputs_.size());
    ASSERT_TRUE(CreateReferenceSampler()->Sample(inputs_, absl::MakeSpan(expected)).ok());
    for (size_t row = 0; row < expected.size(); ++row) {
      EXPECT_EQ(results_[row].code, expected[row].code) << row;
      EXPECT_EQ(results_[row].message, expected[row].message) << row;
      EXPECT_EQ(results_[row].token_ids, expected[row].token_ids) << row;
    }
  }

 private:
  SamplingParams params_ = {.top_k = 20, .top_p = 0.9};
  std::vector<float> values_;
  std::vector<RowInput> inputs_;
  std::vector<RowResult> results_;
};

TEST_F(CudaSamplerTest, SaysWhyThereIsNoDevice) {
  simt::RemoveDriver();
  const absl::Status no_driver = CreateCudaSampler().status();
  EXPECT_EQ(no_driver.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(no_driver.message()), HasSubstr("no CUDA device answers"));
  simt::ResetMachine();
  simt::SetDevices({});
  EXPECT_EQ(CreateCudaSampler().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CudaSamplerTest, SaysWhenADeviceHasTooLittleMemory) {
  simt::Device small;
  small.memory_bytes = size_t{1} << 20;
  simt::SetDevices({small});
  const absl::Status status = CreateCudaSampler().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cudaMalloc: cudaErrorMemoryAllocation"));
}

TEST_F(CudaSamplerTest, NamesItsDevices) {
  EXPECT_EQ((*CreateCudaSampler())->name(), "cuda");
  EXPECT_EQ((*CreateCudaSampler())->device(), "emulated");
  simt::SetDevices({simt::Device{}, simt::Device{}});
  EXPECT_EQ((*CreateCudaSampler())->device(), "2 x emulated");
}

TEST_F(CudaSamplerTest, LeavesOutADeviceThatRefusesAndSaysWhy) {
  simt::Device small;
  small.memory_bytes = size_t{1} << 20;
  simt::SetDevices({small, simt::Device{}, simt::Device{.name = "another"}});
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  EXPECT_EQ(sampler->device(),
            "emulated, another; without device 0: CUDA: cudaMalloc: cudaErrorMemoryAllocation, "
            "cudaErrorMemoryAllocation");
  for (int i = 0; i < 5; ++i) Batch(4, 100).ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 5u);
}

// A kernel for devices without clusters on a device that has them, and devices that cannot run the
// largest cluster.
TEST_F(CudaSamplerTest, LaunchesTheClustersThatDeviceAndKernelKnow) {
  const simt::Device devices[] = {{.image = 80}, {.largest_cluster = 2}, {.multiprocessors = 4}};
  for (const simt::Device& device : devices) {
    simt::ResetMachine();
    simt::SetDevices({device});
    const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
    Batch(3, 60'000).ExpectSameAsReference(*sampler);
    EXPECT_EQ(simt::KernelCount(), 1u);
    EXPECT_THAT(sampler->fallbacks(), IsEmpty());
  }
}

TEST_F(CudaSamplerTest, SamplesAnEmptyBatch) {
  EXPECT_TRUE((*CreateCudaSampler())->Sample({}, {}).ok());
  EXPECT_EQ(simt::KernelCount(), 0u);
}

TEST_F(CudaSamplerTest, SamplesBatchesThatFillItsBuffersManyTimes) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  Batch batch(50, 700);
  batch.ExpectSameAsReference(*sampler);
  EXPECT_GE(simt::KernelCount(), 15u);
}

TEST_F(CudaSamplerTest, LeavesToTheCpuARowThatNoBufferHolds) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 1000}).value();
  Batch batch(3, 700);
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 0u);
}

TEST_F(CudaSamplerTest, ARowThatCannotBeReadFailsAlone) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  const testing::BrokenSource source(100);
  Batch batch(9, 700);
  for (const size_t row : {0u, 4u, 5u, 8u}) {
    batch.Row(row).values = nullptr;
    batch.Row(row).source = &source;
  }
  batch.ExpectSameAsReference(*sampler);
  EXPECT_GE(simt::KernelCount(), 1u);
}

TEST_F(CudaSamplerTest, SamplesOnEveryDevice) {
  simt::SetDevices({simt::Device{}, simt::Device{}});
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  for (int i = 0; i < 5; ++i) Batch(4, 100).ExpectSameAsReference(*sampler);
}

TEST_F(CudaSamplerTest, ABadRowFailsAloneAndIsTold) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(4, 100);
  batch.Value(1 * 100 + 50) = NAN;
  batch.Value(2 * 100 + 99) = INFINITY;
  for (size_t i = 300; i < 400; ++i) batch.Value(i) = -INFINITY;
  batch.ExpectSameAsReference(*sampler);
}

TEST_F(CudaSamplerTest, MixesRowsOfTheKernelAndOfTheCpu) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(6, 100);
  SamplingParams typical;
  typical.typical_p = 0.5;
  batch.Row(1).params = &typical;
  batch.Row(4).params = &typical;
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
}

// Makes parameters with every kind of adjustment, for a vocabulary of at least 100.
SamplingParams AdjustingParams() {
  SamplingParams params = {.top_k = 20, .top_p = 0.9};
  params.banned_ids = {7, 50};
  params.bad_words = {{1, 2, 3}, {9}};
  params.min_tokens = 5;
  params.stop_ids = {60, 61};
  params.logit_bias = {{11, 2.5f}, {7, 1.0f}, {50, -3.0f}};
  params.repetition_penalty = 1.3;
  params.frequency_penalty = 0.25;
  params.presence_penalty = -0.5;
  params.no_repeat_ngram_size = 3;
  params.dry = {.multiplier = 0.8, .allowed_length = 1};
  return params;
}

TEST_F(CudaSamplerTest, AdjustsRowsOnTheDevice) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(6, 100);
  const SamplingParams params = AdjustingParams();
  const std::vector<uint32_t> prompt = {4, 1, 2, 30, 4, 1, 2, 30, 99};
  const std::vector<uint32_t> output = {11, 4, 12, 4, 1, 2};
  const RowHistory history = {.prompt_ids = prompt, .output_ids = output};
  std::vector<uint8_t> bitmask(16, 0xa7);
  SamplingParams listed = params;
  for (uint32_t id = 0; id < 100; id += 3) listed.allowed_ids.push_back(id);
  for (size_t row = 0; row < 5; ++row) {
    batch.Row(row).params = row == 3 ? &listed : &params;
    batch.Row(row).history = &history;
    if (row >= 2) batch.Row(row).bitmask = bitmask.data();
  }
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
  EXPECT_THAT(sampler->fallbacks(), IsEmpty());
}

TEST_F(CudaSamplerTest, RowsWhoseAdjustmentsFillTheBuffersAreSampledInTurn) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  constexpr uint32_t kVocab = 60'000;
  Batch batch(4, kVocab);
  SamplingParams params;
  params.presence_penalty = 1.5;
  std::vector<uint32_t> output(kVocab);
  for (uint32_t id = 0; id < kVocab; ++id) output[id] = id;
  const RowHistory history = {.output_ids = output};
  for (size_t row = 0; row < 4; ++row) {
    batch.Row(row).params = &params;
    batch.Row(row).history = &history;
  }
  batch.ExpectSameAsReference(*sampler);
  EXPECT_GE(simt::KernelCount(), 2u);
  EXPECT_THAT(sampler->fallbacks(), IsEmpty());
}

// Values outside shared memory cannot be changed, so row 1, which has adjustments, is left to the
// CPU. The kernel samples row 0, which has adjustments but is short, and row 2, which is long but
// has only a mask.
TEST_F(CudaSamplerTest, AdjustedRowsAreSampledBesideOnesThatFitNoSharedMemory) {
  simt::Device device;
  device.major = 8;
  device.shared_bytes = size_t{99} << 10;
  simt::SetDevices({device});
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(4, 40'000);
  SamplingParams params;
  params.banned_ids = {1, 2, 3};
  for (const size_t row : {0u, 1u, 3u}) batch.Row(row).params = &params;
  batch.Row(0).vocab = 500;
  batch.Row(3).vocab = 700;
  std::vector<uint8_t> bitmask(5'000, 0x55);
  batch.Row(2).bitmask = bitmask.data();
  batch.ExpectSameAsReference(*sampler);
  ASSERT_EQ(sampler->fallbacks().size(), 1u);
  EXPECT_EQ(sampler->fallbacks()[0].reason, "vocab");
  EXPECT_EQ(sampler->fallbacks()[0].rows, 1u);
  // Two launches show that the kernel sampled them: rows that it fails go to the CPU without being
  // counted.
  EXPECT_EQ(simt::KernelCount(), 2u);
}

// A penalty that overflows fails only its row.
TEST_F(CudaSamplerTest, APenaltyThatOverflowsIsTold) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(3, 100);
  SamplingParams params;
  params.repetition_penalty = 1e-40;
  const std::vector<uint32_t> output = {5};
  const RowHistory history = {.output_ids = output};
  batch.Row(1).params = &params;
  batch.Row(1).history = &history;
  batch.ExpectSameAsReference(*sampler);
}

TEST_F(CudaSamplerTest, TellsOnceOfEachReasonToUseTheCpuAndCountsItsRows) {
  std::vector<std::string> told;
  const auto tell = [&told](absl::string_view reason) { told.emplace_back(reason); };
  const std::unique_ptr<Sampler> sampler =
      CreateCudaSampler({.buffer_bytes = 1000, .on_fallback = tell}).value();
  EXPECT_THAT(sampler->fallbacks(), IsEmpty());
  SamplingParams typical;
  typical.typical_p = 0.5;
  OutputOptions outputs;
  outputs.entropy = true;
  Batch batch(5, 100);
  batch.Row(1).params = &typical;
  batch.Row(2).outputs = &outputs;
  batch.Row(4).params = &typical;
  batch.Value(0) = NAN;  // a row that fails is not counted as a fallback
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(batch.Sample(*sampler).ok());
  ASSERT_TRUE(Batch(3, 700).Sample(*sampler).ok());
  EXPECT_THAT(told, ElementsAre("TYPICAL_P", "outputs", "vocab"));
  std::vector<std::pair<std::string, uint64_t>> counted;
  for (const Fallback& fallback : sampler->fallbacks()) {
    counted.emplace_back(fallback.reason, fallback.rows);
  }
  EXPECT_THAT(counted, ElementsAre(Pair("TYPICAL_P", 4), Pair("outputs", 2), Pair("vocab", 3)));
}

// Tokens a thousandth of the threshold apart, on both sides of it and of the bounds for which the
// kernel computes no weight. One token more or less would change most of the draws.
TEST_F(CudaSamplerTest, MinPCutsAmongTokensThatLieClose) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  constexpr size_t kVocab = 4000;
  std::vector<SamplingParams> params(6);
  Batch batch(params.size(), kVocab);
  for (size_t row = 0; row < params.size(); ++row) {
    const double temperature = row % 2 == 0 ? 1.0 : 0.3;
    const double min_p = row < 2 ? 0.1 : row < 4 ? 1e-5 : 1.0;
    params[row].temperature = temperature;
    params[row].min_p = min_p;
    params[row].num_samples = 64;
    params[row].replacement = true;
    batch.Row(row).params = &params[row];
    for (size_t i = 0; i < kVocab; ++i) {
      const double away = (static_cast<double>(i * 7919 % kVocab) - kVocab / 2.0) * 1e-4;
      const double value = std::min(0.0, temperature * (std::log(min_p) + away));
      batch.Value(row * kVocab + i) = i == 17 ? 0.0f : static_cast<float>(value);
    }
  }
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
}

// Such rows are counted, but without a warning.
TEST_F(CudaSamplerTest, RowsThatAreFasterOnTheCpuAreSampledThere) {
  int times_told = 0;
  // For 2.5 rows, top-k costs the same on both sides.
  HostRowPolicy policy;
  policy.costs[static_cast<size_t>(RowWork::kTopK)] = {.cpu = {.fixed = 0.0, .per_unit = 1.0},
                                                       .device = {.fixed = 250.0, .per_unit = 0.0}};
  const std::unique_ptr<Sampler> sampler =
      CreateCudaSampler(
          {.host_rows = policy, .on_fallback = [&times_told](absl::string_view) { ++times_told; }})
          .value();
  SamplingParams top_p;
  top_p.top_p = 0.5;
  Batch batch(3, 100);
  batch.Row(1).params = &top_p;
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
  Batch(2, 100).ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
  Batch(3, 100).ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 2u);
  ASSERT_EQ(sampler->fallbacks().size(), 1u);
  EXPECT_EQ(sampler->fallbacks()[0].reason, "host_rows");
  EXPECT_EQ(sampler->fallbacks()[0].rows, 4u);
  EXPECT_EQ(times_told, 0);
}

TEST_F(CudaSamplerTest, MeasuresAsItIsMadeWhereRowsFromTheHostAreSampledSooner) {
  int times_told = 0;
  const auto tell = [&times_told](const HostRowPolicy& policy) {
    ++times_told;
    for (const HostRowPolicy::Costs& costs : policy.costs) {
      EXPECT_GT(costs.cpu.Of(1600), 0.0);
      EXPECT_GT(costs.device.Of(6400), 0.0);
    }
  };
  const std::unique_ptr<Sampler> sampler =
      CreateCudaSampler({.measured_vocab = 100, .on_host_rows = tell}).value();
  EXPECT_EQ(times_told, 1);
  EXPECT_GT(simt::KernelCount(), 0u);
  Batch(3, 100).ExpectSameAsReference(*sampler);
}

TEST_F(CudaSamplerTest, ADeviceThatFailsAsItIsMeasuredIsNone) {
  constexpr uint64_t kBehindItsAllocations = 100;
  simt::FailCall(kBehindItsAllocations, cudaErrorLaunchOutOfResources, simt::Fault::kTransient);
  const absl::StatusOr<std::unique_ptr<Sampler>> unmeasured = CreateCudaSampler();
  EXPECT_TRUE(unmeasured.ok());
  EXPECT_TRUE(simt::FaultIsPending());
  simt::FailCall(kBehindItsAllocations, cudaErrorLaunchOutOfResources, simt::Fault::kTransient);
  EXPECT_EQ(CreateCudaSampler({.measured_vocab = 100}).status().code(),
            absl::StatusCode::kInternal);
}

// The rows of a stream have a state even if nothing needs it.
TEST_F(CudaSamplerTest, AStateThatNothingNeedsKeepsARowOnTheKernel) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  Batch batch(6, 100);
  RowState state;
  for (size_t row = 0; row < 6; ++row) batch.Row(row).state = &state;
  batch.ExpectSameAsReference(*sampler);
  EXPECT_EQ(simt::KernelCount(), 1u);
}

// Whichever call of the runtime fails, only its batch fails, with a message.
TEST_F(CudaSamplerTest, ATransientErrorFailsItsBatchAlone) {
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.buffer_bytes = 10'000}).value();
  int failures = 0;
  for (uint64_t call = 1; call <= 1000; ++call) {
    SCOPED_TRACE(call);
    simt::FailCall(call, cudaErrorLaunchOutOfResources, simt::Fault::kTransient);
    Batch batch(8, 700);
    const absl::Status status = batch.Sample(*sampler);
    if (simt::FaultIsPending()) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cudaErrorLaunchOutOfResources"));
    ++failures;
    Batch(8, 700).ExpectSameAsReference(*sampler);
  }
  EXPECT_GE(failures, 10);
  simt::ResetMachine();
}

TEST_F(CudaSamplerTest, AStickyErrorFailsEveryLaterBatchAndIsTold) {
  int times_told = 0;
  const auto tell = [&times_told](const absl::Status&) { ++times_told; };
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler({.on_lost = tell}).value();
  simt::FailCall(4, cudaErrorIllegalAddress, simt::Fault::kSticky);
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = Batch(2, 100).Sample(*sampler);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cudaErrorIllegalAddress"));
    EXPECT_EQ(times_told, 1);
  }
  simt::ResetMachine();
}

}  // namespace
}  // namespace token_sampler
