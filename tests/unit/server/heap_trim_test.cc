// Tests that memory freed between blocks in use goes back to the system.

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

}  // namespace
}  // namespace token_sampler
