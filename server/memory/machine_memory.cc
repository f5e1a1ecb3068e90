#include "server/memory/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "sampler/cpu/threads/cgroup_folders.h"

namespace token_sampler {

uint64_t CgroupMemory(const std::string& root) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const cpu::CgroupFolder& group : cpu::FindCgroupFolders(root, "memory")) {
    std::ifstream file(
        absl::StrCat(group.folder, group.version_2 ? "/memory.max" : "/memory.limit_in_bytes"));
    uint64_t limit = 0;
    // "max" means no limit; it does not parse as a number.
    if (file >> limit && limit > 0) least = std::min(least, limit);
  }
  return least;
}

uint64_t MachineMemory(const std::string& root) {
  const uint64_t machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(machine, CgroupMemory(root));
}

}  // namespace token_sampler
