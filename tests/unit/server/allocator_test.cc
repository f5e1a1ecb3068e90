// Tests the server's allocator with the server's settings: memory freed between blocks in use goes
// back to the system, and the next message takes the memory of the last one.

#include <gtest/gtest.h>
#include <jemalloc/jemalloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <vector>

#include "tests/testing/eventually.h"

namespace token_sampler {
namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;

uint64_t ResidentBytes() {
  uint64_t pages = 0;
  uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

int64_t PageFaults() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// Allocates and frees memory like gRPC does for a received message.
void ReceiveMessage() {
  constexpr size_t kPiece = 65'536;
  constexpr size_t kPieces = 512;  // 32 MiB
  std::vector<std::unique_ptr<char[]>> pieces;
  for (size_t i = 0; i < kPieces; ++i) {
    pieces.emplace_back(new char[kPiece]);
    std::memset(pieces.back().get(), 1, kPiece);
  }
}

TEST(AllocatorTest, GivesBackWhatLiesBetweenBlocksInUse) {
  constexpr size_t kBlock = 16'384;
  constexpr size_t kBlocks = 8192;  // 128 MiB
  std::vector<std::unique_ptr<char[]>> blocks(kBlocks);
  for (auto& block : blocks) {
    block = std::make_unique<char[]>(kBlock);
    std::memset(block.get(), 1, kBlock);
  }
  const uint64_t before = ResidentBytes();
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i % 64 != 0) blocks[i].reset();
  }
  // The allocator's own threads give the memory back.
  EXPECT_TRUE(testing::Eventually([&] { return ResidentBytes() + 100 * kMib < before; }))
      << ResidentBytes() / kMib << " of " << before / kMib << " MiB are resident";
}

TEST(AllocatorTest, NextMessageTakesTheMemoryOfTheLastOne) {
  constexpr int64_t kPages = 8192;  // of a message
  ReceiveMessage();
  // Pages may be given back before some of the messages, but not before each.
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int message = 0; message < 10; ++message) {
    const int64_t before = PageFaults();
    ReceiveMessage();
    least = std::min(least, PageFaults() - before);
  }
  EXPECT_LT(least, kPages / 8);
}

TEST(AllocatorTest, ReadsTheSettings) {
  for (const char* decay : {"opt.dirty_decay_ms", "opt.muzzy_decay_ms"}) {
    ssize_t milliseconds = 0;
    size_t size = sizeof(milliseconds);
    ASSERT_EQ(mallctl(decay, &milliseconds, &size, nullptr, 0), 0) << decay;
    EXPECT_EQ(milliseconds, 1000) << decay;
  }
  bool background = false;
  size_t size = sizeof(background);
  ASSERT_EQ(mallctl("background_thread", &background, &size, nullptr, 0), 0);
  EXPECT_TRUE(background);
}

}  // namespace
}  // namespace token_sampler
