#include "sampler/cpu/usable_cpus.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace token_sampler::cpu {
namespace {

using Words = std::vector<std::string>;

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

// A mounted hierarchy of groups.
struct Mount {
  bool version_2;
  std::string group;   // that stands at the mount point
  std::string folder;  // the mount point
};

bool Contains(const Words& words, absl::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The mounts that can hold CPU quotas, from a line of proc(5) mountinfo:
// "31 23 0:26 /group /folder rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct".
std::optional<Mount> ParseMount(absl::string_view line) {
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  const Words place = absl::StrSplit(halves.first, ' ');
  const Words kind = absl::StrSplit(halves.second, ' ');
  if (place.size() < 5 || kind.size() < 3) return std::nullopt;
  const bool version_2 = kind[0] == "cgroup2";
  const bool version_1 = kind[0] == "cgroup" && Contains(absl::StrSplit(kind[2], ','), "cpu");
  if (!version_1 && !version_2) return std::nullopt;
  return Mount{version_2, place[3], place[4]};
}

// The group of this process, from the lines of cgroups(7): "4:cpu,cpuacct:/group" in version 1,
// "0::/group" in version 2.
std::optional<std::string> OwnGroup(const std::string& root, bool version_2) {
  std::ifstream file(absl::StrCat(root, "/proc/self/cgroup"));
  for (std::string line; std::getline(file, line);) {
    const Words fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const bool matches =
        version_2 ? fields[0] == "0" : Contains(absl::StrSplit(fields[1], ','), "cpu");
    if (matches) return fields[2];
  }
  return std::nullopt;
}

// "max", or -1 in version 1, is no quota.
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

double QuotaBelow(const std::string& root, const Mount& mount) {
  const std::optional<std::string> own = OwnGroup(root, mount.version_2);
  if (!own.has_value()) return kNoQuota;
  // A container may see only its own group, at the mount point.
  std::string path = mount.group == "/" ? *own : "";
  const std::string below = absl::StrCat(mount.group, "/");
  if (absl::StartsWith(*own, below)) path = own->substr(mount.group.size());
  double least = kNoQuota;
  while (true) {
    const std::string folder = absl::StrCat(root, mount.folder, path);
    least = std::min(least, QuotaOfFolder(folder, mount.version_2));
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return least;
    path.resize(slash);
  }
}

int CpusOfAffinity() {
  // Linux has at most 8192.
  std::array<cpu_set_t, 8> cpus;
  if (sched_getaffinity(0, sizeof(cpus), cpus.data()) != 0) return std::numeric_limits<int>::max();
  return CPU_COUNT_S(sizeof(cpus), cpus.data());
}

}  // namespace

double CgroupQuota(const std::string& root) {
  double least = kNoQuota;
  std::ifstream file(absl::StrCat(root, "/proc/self/mountinfo"));
  for (std::string line; std::getline(file, line);) {
    const std::optional<Mount> mount = ParseMount(line);
    if (mount.has_value()) least = std::min(least, QuotaBelow(root, *mount));
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
