// Tests how much memory the process may use, with files like those of Linux.

#include "server/memory/machine_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace token_sampler {
namespace {

constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

class MachineMemoryTest : public ::testing::Test {
 protected:
  MachineMemoryTest()
      : root_(::testing::TempDir() + "machine_memory_" + std::to_string(getpid())) {}
  ~MachineMemoryTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& content) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }

  const std::string root_;
};

TEST_F(MachineMemoryTest, WithoutALimitItIsTheMachines) {
  EXPECT_EQ(CgroupMemory(root_), kNone);
  EXPECT_GT(MachineMemory(root_), 0u);
  EXPECT_LT(MachineMemory(root_), kNone);
}

TEST_F(MachineMemoryTest, TheTightestGroupOfVersion2Counts) {
  Write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("/proc/self/cgroup", "0::/pods/one\n");
  Write("/sys/fs/cgroup/pods/one/memory.max", "max\n");
  EXPECT_EQ(CgroupMemory(root_), kNone);
  Write("/sys/fs/cgroup/pods/memory.max", "2147483648\n");
  EXPECT_EQ(CgroupMemory(root_), uint64_t{2} << 30);
  Write("/sys/fs/cgroup/pods/one/memory.max", "1048576\n");
  EXPECT_EQ(CgroupMemory(root_), uint64_t{1} << 20);
  EXPECT_EQ(MachineMemory(root_), uint64_t{1} << 20);
}

TEST_F(MachineMemoryTest, AGroupOfVersion1Counts) {
  Write("/proc/self/mountinfo",
        "31 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  Write("/proc/self/cgroup", "9:memory:/one\n");
  Write("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_LT(MachineMemory(root_), uint64_t{9223372036854771712u});
  Write("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(CgroupMemory(root_), 4096u);
}

TEST(BoundsOfTransportTest, LeavesMemoryToTheProcess) {
  constexpr uint64_t kMib = uint64_t{1} << 20;
  for (const uint64_t memory : {256 * kMib, 1024 * kMib, 24'576 * kMib, uint64_t{1} << 50}) {
    const uint64_t budget = DefaultMemoryBudget(memory);
    const TransportBounds bounds = BoundsOfTransport(memory, budget, 512 * kMib);
    EXPECT_LE(budget + bounds.quota, memory - memory / 16) << memory;
    EXPECT_LE(bounds.incomplete, bounds.quota / 2) << memory;
  }
}

TEST(BoundsOfTransportTest, HoldsWhatIsGrantedAndWhatIsIncomplete) {
  constexpr uint64_t kMib = uint64_t{1} << 20;
  const TransportBounds bounds = BoundsOfTransport(24'576 * kMib, 1024 * kMib, 512 * kMib);
  EXPECT_EQ(bounds.quota, 1536 * kMib);
  EXPECT_EQ(bounds.incomplete, 512 * kMib);
}

TEST(BoundsOfTransportTest, ABudgetBeyondTheMemoryLeavesTheLeast) {
  constexpr uint64_t kMib = uint64_t{1} << 20;
  for (const uint64_t budget : {2048 * kMib, ~uint64_t{0}}) {
    const TransportBounds bounds = BoundsOfTransport(1024 * kMib, budget, 512 * kMib);
    EXPECT_EQ(bounds.quota, 64 * kMib);
    EXPECT_EQ(bounds.incomplete, 32 * kMib);
  }
}

}  // namespace
}  // namespace token_sampler
