// Tests the engine: what threads see of each other, and what it reports of kernels that would hang
// or be undefined on a device.

#include "tests/simt/engine.h"

#include <cooperative_groups.h>
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

#include "tests/simt/fiber_annotations.h"

namespace simt {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr unsigned kAll = 0xffffffffu;

LaunchShape Shape(unsigned threads, unsigned blocks = 1, unsigned cluster = 1,
                  size_t shared_bytes = 0) {
  return {.grid = {blocks}, .block = {threads}, .cluster = cluster, .shared_bytes = shared_bytes};
}

// Runs tests with several orders of threads.
class ScheduleTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  void Run(const LaunchShape& shape, const std::function<void()>& kernel) {
    EXPECT_EQ(RunKernel(shape, GetParam(), kernel), "");
  }
};
INSTANTIATE_TEST_SUITE_P(Seeds, ScheduleTest, ::testing::Values(0, 1, 2));

TEST_P(ScheduleTest, EveryThreadRunsOnceWithItsOwnIndices) {
  std::multiset<unsigned> seen;
  Run({.grid = {3, 2}, .block = {4, 2}}, [&] {
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    seen.insert(block * 8 + thread);
  });
  ASSERT_EQ(seen.size(), 48u);
  for (unsigned i = 0; i < 48; ++i) EXPECT_EQ(seen.count(i), 1u) << i;
}

TEST_P(ScheduleTest, ABarrierShowsWhatAllThreadsWroteBeforeIt) {
  std::vector<unsigned> seen(64);
  Run(Shape(64, 1, 1, 64 * sizeof(unsigned)), [&] {
    auto* shared = static_cast<unsigned*>(DynamicSharedMemory());
    const unsigned i = threadIdx.x;
    shared[i] = i;
    __syncthreads();
    const unsigned neighbour = shared[(i + 1) % 64];
    __syncthreads();
    shared[i] = 10 * neighbour;
    __syncthreads();
    seen[i] = shared[(i + 1) % 64];
  });
  for (unsigned i = 0; i < 64; ++i) EXPECT_EQ(seen[i], 10 * ((i + 2) % 64));
}

TEST_P(ScheduleTest, BarriersCountPredicates) {
  std::vector<int> counts(96);
  std::vector<int> any(96);
  std::vector<int> all(96);
  Run(Shape(96), [&] {
    const unsigned i = threadIdx.x;
    counts[i] = __syncthreads_count(i % 3 == 0 ? 1 : 0);
    any[i] = __syncthreads_or(i == 95 ? 1 : 0);
    all[i] = __syncthreads_and(i == 95 ? 0 : 1);
  });
  EXPECT_THAT(counts, Each(32));
  EXPECT_THAT(any, Each(1));
  EXPECT_THAT(all, Each(0));
}

TEST_P(ScheduleTest, WarpOperationsFollowTheirMask) {
  std::vector<uint64_t> xor_values(64);
  std::vector<unsigned> up(64);
  std::vector<unsigned> segment(64);
  std::vector<unsigned> ballots(64);
  std::vector<unsigned> sums(64);
  Run(Shape(64), [&] {
    const unsigned i = threadIdx.x;
    const unsigned lane = i % 32;
    xor_values[i] = __shfl_xor_sync(kAll, uint64_t{i} << 40, 5);
    up[i] = __shfl_up_sync(kAll, i, 3);
    segment[i] = __shfl_sync(kAll, i, 1, 8);
    const unsigned mask = lane < 8 ? 0xffu : 0xffffff00u;
    ballots[i] = __ballot_sync(mask, static_cast<int>(lane % 2));
    sums[i] = __reduce_add_sync(mask, lane);
  });
  for (unsigned i = 0; i < 64; ++i) {
    const unsigned lane = i % 32;
    EXPECT_EQ(xor_values[i], uint64_t{i ^ 5} << 40);
    EXPECT_EQ(up[i], lane < 3 ? i : i - 3);
    EXPECT_EQ(segment[i], i / 8 * 8 + 1);
    EXPECT_EQ(ballots[i], lane < 8 ? 0xaau : 0xaaaaaa00u);
    EXPECT_EQ(sums[i], lane < 8 ? 28u : 496u - 28u);
  }
}

TEST_P(ScheduleTest, BlocksOfAClusterReadEachOthersSharedMemory) {
  std::vector<unsigned> seen(2 * 4 * 32);
  Run(Shape(32, 8, 4, sizeof(unsigned)), [&] {
    const auto cluster = cooperative_groups::this_cluster();
    auto* shared = static_cast<unsigned*>(DynamicSharedMemory());
    if (threadIdx.x == 0) *shared = blockIdx.x;
    const auto arrival = cluster.barrier_arrive();
    cluster.barrier_wait(arrival);
    const unsigned next = (cluster.block_rank() + 1) % cluster.num_blocks();
    seen[blockIdx.x * 32 + threadIdx.x] = *cluster.map_shared_rank(shared, next);
    cluster.sync();
  });
  for (unsigned i = 0; i < seen.size(); ++i) {
    const unsigned block = i / 32;
    EXPECT_EQ(seen[i], block / 4 * 4 + (block + 1) % 4);
  }
}

TEST(EngineTest, SharedMemoryStartsUninitialized) {
  unsigned seen = 0;
  const auto kernel = [&] {
    auto* shared = static_cast<unsigned*>(DynamicSharedMemory());
    seen = *shared;
    *shared = 0;
  };
  EXPECT_EQ(RunKernel(Shape(1, 2, 1, sizeof(unsigned)), 0, kernel), "");
  EXPECT_NE(seen, 0u);
}

#if defined(TOKEN_SAMPLER_SIMT_ASAN)
TEST(EngineDeathTest, SharedMemoryEndsWhereItWasAskedTo) {
  const auto kernel = [] { static_cast<char*>(DynamicSharedMemory())[100] = 1; };
  EXPECT_DEATH(RunKernel(Shape(1, 1, 1, 100), 0, kernel), "heap-buffer-overflow");
}
#endif

TEST(EngineTest, ReportsABarrierThatAThreadLeavesOut) {
  const std::string report = RunKernel(Shape(64, 2), 0, [] {
    if (blockIdx.x == 1 && threadIdx.x == 40) return;
    __syncthreads();
  });
  EXPECT_THAT(report, AllOf(HasSubstr("block 1 thread 0 waits at a barrier of the block"),
                            HasSubstr("which block 1 thread 40 never reaches: it has exited")));
}

TEST(EngineTest, ReportsThreadsAtDifferentBarriers) {
  const std::string report = RunKernel(Shape(64), 0, [] {
    if (threadIdx.x < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  });
  EXPECT_THAT(report, HasSubstr("thread 63: reaches the block's barrier at"));
}

TEST(EngineTest, ReportsAWarpOperationThatALaneLeavesOut) {
  const std::string report = RunKernel(Shape(32), 0, [] {
    if (threadIdx.x == 7) return;
    __shfl_sync(kAll, 1, 0);
  });
  EXPECT_THAT(report, AllOf(HasSubstr("waits at a warp operation"),
                            HasSubstr("block 0 thread 7 never reaches: it has exited")));
}

TEST(EngineTest, ReportsAMaskWithoutTheThread) {
  EXPECT_THAT(RunKernel(Shape(32), 0, [] { __ballot_sync(0x1u, 1); }),
              HasSubstr("thread 1: is not in the mask of its own warp operation"));
}

TEST(EngineTest, ReportsAMaskBeyondTheBlock) {
  EXPECT_THAT(RunKernel(Shape(16), 0, [] { __ballot_sync(kAll, 1); }),
              HasSubstr("names lanes beyond the block"));
}

TEST(EngineTest, ReportsAShuffleFromOutsideTheMask) {
  const std::string report = RunKernel(Shape(32), 0, [] {
    if (threadIdx.x < 16) __shfl_sync(0xffffu, 1, 20);
  });
  EXPECT_THAT(report, HasSubstr("shuffles from a lane that is not in the mask"));
}

TEST(EngineTest, ReportsABlockThatLeavesItsCluster) {
  const std::string report = RunKernel(Shape(32, 2, 2), 0, [] {
    if (blockIdx.x == 0) cooperative_groups::this_cluster().sync();
  });
  EXPECT_THAT(report, AllOf(HasSubstr("waits at a barrier of the cluster"),
                            HasSubstr("block 1 thread 0 never reaches: it has exited")));
}

TEST(EngineTest, ReportsSharedMemoryOfABlockThatHasExited) {
  const std::string report = RunKernel(Shape(1, 2, 2, 4), 0, [] {
    if (blockIdx.x == 0) return;
    cooperative_groups::this_cluster().map_shared_rank(
        static_cast<unsigned*>(DynamicSharedMemory()), 0);
  });
  EXPECT_THAT(report, HasSubstr("maps shared memory of rank 0, which has threads that exited"));
}

TEST(EngineTest, ReportsAnAddressThatIsNotShared) {
  unsigned word = 0;
  const std::string report = RunKernel(
      Shape(1, 2, 2, 4), 0, [&] { cooperative_groups::this_cluster().map_shared_rank(&word, 1); });
  EXPECT_THAT(report, HasSubstr("maps an address that is not in its block's shared memory"));
}

TEST(EngineTest, RunsAfterALaunchThatWasGivenUp) {
  for (int round = 0; round < 3; ++round) {
    EXPECT_NE(RunKernel(Shape(64, 4, 2), 1,
                        [] {
                          char frame[100] = {};
                          if (threadIdx.x == 1) return;
                          __syncthreads();
                          EXPECT_EQ(frame[0], 1);  // not reached
                        }),
              "");
    unsigned threads = 0;
    EXPECT_EQ(RunKernel(Shape(64, 4, 2), 1,
                        [&] {
                          __syncthreads();
                          ++threads;
                        }),
              "");
    EXPECT_EQ(threads, 256u);
  }
}

}  // namespace
}  // namespace simt
