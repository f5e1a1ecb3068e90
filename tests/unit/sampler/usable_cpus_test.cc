// Tests how many CPUs affinity and cgroup quotas allow, with files like those of the kernel.

#include "sampler/cpu/threads/usable_cpus.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace token_sampler::cpu {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();
constexpr const char kVersion2[] =
    "24 30 0:22 / /proc rw,relatime - proc proc rw\n"
    "35 29 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char kVersion1[] =
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "32 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";

class UsableCpusTest : public ::testing::Test {
 protected:
  UsableCpusTest() {
    root_ = ::testing::TempDir() + "usable_cpus_XXXXXX";
    if (mkdtemp(root_.data()) == nullptr) ADD_FAILURE() << "no folder for files";
  }
  ~UsableCpusTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file(root_ + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  void WriteVersion1(const std::string& group, const std::string& quota) {
    Write("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_quota_us", quota + "\n");
    Write("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_period_us", "100000\n");
  }

  std::string root_;
};

TEST_F(UsableCpusTest, WithoutFilesThereIsNoQuota) { EXPECT_EQ(CgroupQuota(root_), kNone); }

TEST_F(UsableCpusTest, TheTightestQuotaOnThePathCounts) {
  Write("/proc/self/mountinfo", kVersion2);
  Write("/proc/self/cgroup", "0::/pod/container/inner\n");
  Write("/sys/fs/cgroup/pod/cpu.max", "400000 100000\n");
  Write("/sys/fs/cgroup/pod/container/cpu.max", "150000 100000\n");
  Write("/sys/fs/cgroup/pod/container/inner/cpu.max", "max 100000\n");
  EXPECT_EQ(CgroupQuota(root_), 1.5);
  Write("/sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
  EXPECT_EQ(CgroupQuota(root_), 0.5);
  Write("/sys/fs/cgroup/pod/container/inner/cpu.max", "10000 50000\n");
  EXPECT_EQ(CgroupQuota(root_), 0.2);
  Write("/sys/fs/cgroup/cpu.max", "5000 50000\n");
  EXPECT_EQ(CgroupQuota(root_), 0.1);
}

TEST_F(UsableCpusTest, Version1HasItsQuotaInTheCpuHierarchy) {
  Write("/proc/self/mountinfo", kVersion1);
  Write("/proc/self/cgroup", "5:cpuset:/elsewhere\n3:cpu,cpuacct:/pod/container\n0::/\n");
  WriteVersion1("/pod", "-1");
  WriteVersion1("/pod/container", "-1");
  WriteVersion1("/elsewhere", "100000");
  EXPECT_EQ(CgroupQuota(root_), kNone);
  WriteVersion1("/pod", "250000");
  EXPECT_EQ(CgroupQuota(root_), 2.5);
  WriteVersion1("/pod/container", "100000");
  EXPECT_EQ(CgroupQuota(root_), 1.0);
}

TEST_F(UsableCpusTest, AContainerSeesItsOwnGroupAtTheMountPoint) {
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  for (const char* group : {"/", "/docker/ab"}) {
    const std::string mount =
        std::string("35 29 0:30 ") + group + " /sys/fs/cgroup rw - cgroup2 c rw";
    Write("/proc/self/mountinfo", mount);
    for (const char* own : {"/docker/ab", "/docker/abc", "/other", "/"}) {
      Write("/proc/self/cgroup", std::string("0::") + own + "\n");
      EXPECT_EQ(CgroupQuota(root_), 2.0) << group << " " << own;
    }
  }
  Write("/proc/self/cgroup", "0::/docker/ab/inner\n");
  Write("/sys/fs/cgroup/inner/cpu.max", "100000 100000\n");
  EXPECT_EQ(CgroupQuota(root_), 1.0);
}

TEST_F(UsableCpusTest, WhatCannotBeReadIsNoQuota) {
  Write("/proc/self/mountinfo", std::string("cgroup2\n - cgroup2\n") + kVersion2);
  Write("/proc/self/cgroup", "0:\n\n0::/a\n");
  for (const char* quota : {"", "max", "max 100000", "many 100000", "100000", "0 100000",
                            "-1 100000", "100000 0", "100000 -1"}) {
    Write("/sys/fs/cgroup/a/cpu.max", quota);
    EXPECT_EQ(CgroupQuota(root_), kNone) << quota;
  }
}

TEST_F(UsableCpusTest, APartOfACpuCountsAsOne) {
  Write("/proc/self/mountinfo", kVersion2);
  Write("/proc/self/cgroup", "0::/\n");
  const UsableCpus all = FindUsableCpus(root_);
  Write("/sys/fs/cgroup/cpu.max", "1000 100000\n");
  EXPECT_EQ(FindUsableCpus(root_).count, 1);
  if (all.count == 1) GTEST_SKIP() << "one CPU, which a quota of a part of it does not make fewer";
  EXPECT_EQ(FindUsableCpus(root_).limit, "cgroup quota");
  Write("/sys/fs/cgroup/cpu.max", "100001 100000\n");
  EXPECT_EQ(FindUsableCpus(root_).count, 2);
  Write("/sys/fs/cgroup/cpu.max", "1000000000 100000\n");
  EXPECT_EQ(FindUsableCpus(root_).count, all.count);
  EXPECT_EQ(FindUsableCpus(root_).limit, all.limit);
}

TEST_F(UsableCpusTest, AffinityCounts) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  if (CPU_COUNT(&before) == 1) GTEST_SKIP() << "one CPU";
  int cpu = 0;
  while (!CPU_ISSET(cpu, &before)) ++cpu;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  const UsableCpus usable = FindUsableCpus(root_);
  sched_setaffinity(0, sizeof(before), &before);
  EXPECT_EQ(usable.count, 1);
  EXPECT_EQ(usable.limit, "CPU affinity");
}

}  // namespace
}  // namespace token_sampler::cpu
