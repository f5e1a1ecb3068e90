// Tests the CUDA kernel on rows that reach each of its paths, in every shape of a launch, with the
// emulation of tests/simt. kernels.coverage checks that no path is left out.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/cuda_sampler.h"
#include "cuda/plan/job_plan.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/direct_launch.h"
#include "tests/conformance/path_rows.h"
#include "tests/simt/machine.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler::testing {
namespace {

class KernelPathsTest : public ::testing::Test {
 protected:
  KernelPathsTest() { simt::ResetMachine(); }
  ~KernelPathsTest() override { simt::ResetMachine(); }

  // Expects the same results for every one_in-th row in each shape; for a sixth of these under
  // sanitizers.
  static void ExpectSameInEveryShape(const RandomBatch& batch, size_t one_in) {
    if (kSanitized) one_in *= 6;
    for (const auto& row : batch.rows) {
      ASSERT_EQ(cuda::WhyNotKernel(row->input), "") << row->description;
      const absl::Status valid = ValidateParams(row->params, row->input.kind, row->input.vocab, {});
      ASSERT_TRUE(valid.ok()) << valid;
    }
    const auto difference = LaunchDifference(batch, *CreateReferenceSampler(), one_in);
    ASSERT_TRUE(difference.ok()) << difference.status() << simt::KernelReport();
    EXPECT_EQ(*difference, "");
  }
};

TEST_F(KernelPathsTest, HasAShapeForEachNumberOfBlocksAndPlaceOfValues) {
  const auto device = PrepareDevice();
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(EveryShape(*device, 1000).size(), 8u);
}

TEST_F(KernelPathsTest, EveryTypeAlignedOrNotWithMasksAndEdits) {
  ExpectSameInEveryShape(MakeElementRows(301), 1);
}

TEST_F(KernelPathsTest, EveryTypeInAnotherOrderOfThreads) {
  simt::SetSchedule(5);
  ExpectSameInEveryShape(MakeElementRows(75), 4);
}

TEST_F(KernelPathsTest, EveryFilterOnRowsOfEveryShape) {
  ExpectSameInEveryShape(MakeStageRows(), 4);
}

TEST_F(KernelPathsTest, RowsOnWhichTheGuessOfTopPFails) {
  ExpectSameInEveryShape(MakeGuessRows(), 1);
}

TEST_F(KernelPathsTest, VocabulariesAtBoundaries) { ExpectSameInEveryShape(MakeBoundaryRows(), 4); }

TEST_F(KernelPathsTest, RowsThatFail) { ExpectSameInEveryShape(MakeFailingRows(), 2); }

TEST_F(KernelPathsTest, FewLongRowsGetMoreBlocksEach) {
  EXPECT_EQ(ChooseShape(kHopper, 1, 4'096).cluster_blocks, 1u);
  EXPECT_EQ(ChooseShape(kHopper, 1, 8'192).cluster_blocks, 2u);
  EXPECT_EQ(ChooseShape(kHopper, 1, 128'256).cluster_blocks, 8u);
  EXPECT_EQ(ChooseShape(kHopper, 20, 20'000).cluster_blocks, 4u);
  EXPECT_EQ(ChooseShape(kHopper, 20, 128'256).cluster_blocks, 4u);
}

TEST_F(KernelPathsTest, OfManyRowsTwoBlocksFitAMultiprocessorWhereTheyCan) {
  EXPECT_EQ(ChooseShape(kHopper, 200, 18'000).cluster_blocks, 1u);
  EXPECT_EQ(ChooseShape(kHopper, 200, 20'000).cluster_blocks, 2u);
  EXPECT_EQ(ChooseShape(kHopper, 64, 128'256).cluster_blocks, 8u);
  EXPECT_EQ(ChooseShape(kHopper, 64, 151'936).cluster_blocks, 8u);
  // Rows that are too long for that get the fewest blocks into which they fit.
  EXPECT_EQ(ChooseShape(kHopper, 512, 160'000).cluster_blocks, 4u);
  EXPECT_EQ(ChooseShape(kHopper, 512, 262'144).cluster_blocks, 8u);
}

// Tests the shape that the host chooses for the longest row that fits into a device's shared
// memory, and for one token more.
class ShapeBoundaryTest : public ::testing::TestWithParam<simt::Device> {
 protected:
  ShapeBoundaryTest() {
    simt::ResetMachine();
    simt::SetDevices({GetParam()});
  }
  ~ShapeBoundaryTest() override { simt::ResetMachine(); }
};

TEST_P(ShapeBoundaryTest, LongestRowThatFitsAndTheNext) {
  const auto device = PrepareDevice();
  ASSERT_TRUE(device.ok()) << device.status();
  const auto fits = [&](uint32_t vocab) { return ChooseShape(*device, 1, vocab).values_in_shared; };
  uint32_t longest = 1;
  uint32_t beyond = cuda::RowJob::kMaxVocab;
  while (beyond - longest > 1) {
    const uint32_t middle = longest + (beyond - longest) / 2;
    (fits(middle) ? longest : beyond) = middle;
  }
  ASSERT_TRUE(fits(longest));
  ASSERT_FALSE(fits(beyond));
  const std::unique_ptr<Sampler> sampler = CreateCudaSampler().value();
  for (const int64_t vocab : {longest, beyond}) {
    const RandomBatch batch = MakeLongRow(vocab);
    const uint64_t kernels = simt::KernelCount();
    ExpectSameAsReference(batch, *sampler);
    EXPECT_EQ(simt::KernelCount(), kernels + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Emulated, ShapeBoundaryTest,
    ::testing::Values(simt::Device{.name = "ManyClusters"},
                      simt::Device{.name = "OneMultiprocessor", .multiprocessors = 1},
                      simt::Device{.name = "LittleSharedMemory", .shared_bytes = size_t{48} << 10},
                      simt::Device{
                          .name = "NoClusters", .major = 8, .shared_bytes = size_t{163} << 10}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace token_sampler::testing
