// Tests that memory freed between blocks in use goes back to the system, and when.

#include "server/heap_trim.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/testing/sanitizers.h"

namespace token_sampler {
namespace {

TEST(HeapTrimTest, GivesBackWhatLiesBetweenBlocksInUse) {
  if (testing::kSanitized) GTEST_SKIP() << "the sanitizer has a heap of its own";
  constexpr size_t kBlock = 16'384;
  constexpr size_t kBlocks = 8192;  // 128 MiB
  std::vector<std::unique_ptr<char[]>> blocks(kBlocks);
  for (auto& block : blocks) {
    block = std::make_unique<char[]>(kBlock);
    std::memset(block.get(), 1, kBlock);
  }
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i % 64 != 0) blocks[i].reset();
  }
  const uint64_t before = ResidentBytes();
  EXPECT_GT(FreeResidentBytes(), uint64_t{100} << 20);
  TrimHeap();
  EXPECT_LT(ResidentBytes() + (uint64_t{100} << 20), before);
  EXPECT_LT(FreeResidentBytes(), uint64_t{28} << 20);
}

constexpr uint64_t kMib = uint64_t{1} << 20;

TEST(TrimPolicyTest, TrimsWhatIsFreeAtTwoLooks) {
  TrimPolicy policy;
  EXPECT_FALSE(policy.Look(500 * kMib));
  EXPECT_TRUE(policy.Look(500 * kMib));
  policy.Trimmed(500 * kMib, 490 * kMib);
  EXPECT_FALSE(policy.Look(10 * kMib));
  EXPECT_FALSE(policy.Look(500 * kMib));
  EXPECT_FALSE(policy.Look(64 * kMib));
  EXPECT_FALSE(policy.Look(500 * kMib));
}

TEST(TrimPolicyTest, TrimsAgainWhatWasFreedDuringATrim) {
  TrimPolicy policy;
  policy.Look(400 * kMib);
  ASSERT_TRUE(policy.Look(400 * kMib));
  policy.Trimmed(400 * kMib, 390 * kMib);
  // Freed in a part of the heap that the trim had already been through.
  EXPECT_TRUE(policy.Look(400 * kMib));
}

TEST(TrimPolicyTest, TakesWhatNoTrimGivesBackAsUsed) {
  TrimPolicy policy;
  policy.Look(300 * kMib);
  ASSERT_TRUE(policy.Look(300 * kMib));
  policy.Trimmed(300 * kMib, 1 * kMib);
  EXPECT_FALSE(policy.Look(300 * kMib));
  EXPECT_FALSE(policy.Look(300 * kMib));
  // And once it has gone, all of what is free counts again.
  EXPECT_FALSE(policy.Look(0));
  EXPECT_FALSE(policy.Look(300 * kMib));
  EXPECT_TRUE(policy.Look(300 * kMib));
}

}  // namespace
}  // namespace token_sampler
