// Emulates the part of cooperative groups that clusters need.

#ifndef TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_COOPERATIVE_GROUPS_H_
#define TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_COOPERATIVE_GROUPS_H_

#include <cuda_runtime.h>

namespace cooperative_groups {

class cluster_group {
 public:
  struct arrival_token {};

  void sync(SIMT_PLACE) const {
    simt::ClusterArrive(place);
    simt::ClusterWait();
  }
  arrival_token barrier_arrive(SIMT_PLACE) const {
    simt::ClusterArrive(place);
    return {};
  }
  void barrier_wait(arrival_token = {}) const { simt::ClusterWait(); }
  unsigned block_rank() const { return simt::ClusterRank(); }
  unsigned num_blocks() const { return simt::ClusterSize(); }
  template <typename T>
  T* map_shared_rank(T* address, unsigned rank) const {
    return static_cast<T*>(simt::SharedMemoryOfRank(address, rank));
  }
};

inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups

#endif  // TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_COOPERATIVE_GROUPS_H_
