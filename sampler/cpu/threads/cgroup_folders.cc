#include "sampler/cpu/threads/cgroup_folders.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace token_sampler::cpu {
namespace {

using Words = std::vector<std::string>;

// A mounted hierarchy of control groups.
struct Mount {
  bool version_2;
  std::string group;   // the group at the mount point
  std::string folder;  // the mount point
};

bool Contains(const Words& words, absl::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Parses a line of proc(5) mountinfo: "31 23 0:26 /group /folder rw,nosuid shared:9 - cgroup cgroup
// rw,cpu,cpuacct". Returns nothing unless the mount can have the controller.
std::optional<Mount> ParseMount(absl::string_view line, absl::string_view controller) {
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  const Words place = absl::StrSplit(halves.first, ' ');
  const Words kind = absl::StrSplit(halves.second, ' ');
  if (place.size() < 5 || kind.size() < 3) return std::nullopt;
  const bool version_2 = kind[0] == "cgroup2";
  const bool version_1 = kind[0] == "cgroup" && Contains(absl::StrSplit(kind[2], ','), controller);
  if (!version_1 && !version_2) return std::nullopt;
  return Mount{version_2, place[3], place[4]};
}

// Returns the group of this process from the lines of /proc/self/cgroup, cgroups(7):
// "4:cpu,cpuacct:/group" in version 1, "0::/group" in version 2.
std::optional<std::string> OwnGroup(const std::string& root, bool version_2,
                                    absl::string_view controller) {
  std::ifstream file(absl::StrCat(root, "/proc/self/cgroup"));
  for (std::string line; std::getline(file, line);) {
    const Words fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const bool matches =
        version_2 ? fields[0] == "0" : Contains(absl::StrSplit(fields[1], ','), controller);
    if (matches) return fields[2];
  }
  return std::nullopt;
}

}  // namespace

std::vector<CgroupFolder> FindCgroupFolders(const std::string& root, absl::string_view controller) {
  std::vector<CgroupFolder> folders;
  std::ifstream file(absl::StrCat(root, "/proc/self/mountinfo"));
  for (std::string line; std::getline(file, line);) {
    const std::optional<Mount> mount = ParseMount(line, controller);
    if (!mount.has_value()) continue;
    const std::optional<std::string> own = OwnGroup(root, mount->version_2, controller);
    if (!own.has_value()) continue;
    // In a container, only its own group may be visible, at the mount point.
    std::string path = mount->group == "/" ? *own : "";
    const std::string below = absl::StrCat(mount->group, "/");
    if (absl::StartsWith(*own, below)) path = own->substr(mount->group.size());
    for (size_t end = path.size(); end != std::string::npos; end = path.rfind('/')) {
      path.resize(end);
      folders.push_back({absl::StrCat(root, mount->folder, path), mount->version_2});
    }
  }
  return folders;
}

}  // namespace token_sampler::cpu
