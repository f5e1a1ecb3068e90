#include "sampler/cpu/threads/usable_cpus.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "sampler/cpu/threads/cgroup_folders.h"

namespace token_sampler::cpu {
namespace {

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

// "max", or -1 in version 1, means no quota.
double Divide(std::istream& quota, std::istream& period) {
  double numerator = 0.0;
  double denominator = 0.0;
  if (!(quota >> numerator) || !(period >> denominator)) return kNoQuota;
  return numerator > 0.0 && denominator > 0.0 ? numerator / denominator : kNoQuota;
}

double QuotaOfFolder(const std::string& folder, bool version_2) {
  if (version_2) {
    std::ifstream file(absl::StrCat(folder, "/cpu.max"));
    return Divide(file, file);
  }
  std::ifstream quota(absl::StrCat(folder, "/cpu.cfs_quota_us"));
  std::ifstream period(absl::StrCat(folder, "/cpu.cfs_period_us"));
  return Divide(quota, period);
}

int CpusOfAffinity() {
  // Room for 8192 CPUs, the most that Linux supports.
  std::array<cpu_set_t, 8> cpus;
  if (sched_getaffinity(0, sizeof(cpus), cpus.data()) != 0) return std::numeric_limits<int>::max();
  return CPU_COUNT_S(sizeof(cpus), cpus.data());
}

}  // namespace

double CgroupQuota(const std::string& root) {
  double least = kNoQuota;
  for (const CgroupFolder& group : FindCgroupFolders(root, "cpu")) {
    least = std::min(least, QuotaOfFolder(group.folder, group.version_2));
  }
  return least;
}

UsableCpus FindUsableCpus(const std::string& root) {
  UsableCpus cpus;
  cpus.count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (const int affinity = CpusOfAffinity(); affinity < cpus.count) {
    cpus = {.count = affinity, .limit = "CPU affinity"};
  }
  if (const double quota = std::ceil(CgroupQuota(root)); quota < cpus.count) {
    cpus = {.count = static_cast<int>(quota), .limit = "cgroup quota"};
  }
  return cpus;
}

}  // namespace token_sampler::cpu
