// The folders in which the kernel says what the control groups of this process allow it.

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

// The folders of this process's own group and of those above it that are visible, in every
// hierarchy, of version 1 or 2, that can have the controller: "cpu", "memory". The files of the
// system are looked for below `root`.
std::vector<CgroupFolder> FindCgroupFolders(const std::string& root, absl::string_view controller);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_THREADS_CGROUP_FOLDERS_H_
