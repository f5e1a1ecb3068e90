// Finds the folders in which the kernel shows the limits of this process's control groups.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_THREADS_CGROUP_FOLDERS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_THREADS_CGROUP_FOLDERS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace token_sampler::cpu {

struct CgroupFolder {
  std::string folder;
  bool version_2;
};

// Returns the folders of this process's own group and of its visible ancestors, in every hierarchy,
// of version 1 or 2, that can have the controller, such as "cpu" or "memory". System files are read
// below `root`.
std::vector<CgroupFolder> FindCgroupFolders(const std::string& root, absl::string_view controller);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_CGROUP_FOLDERS_H_
