// The lanes of all devices, for the calls that take them in turn.

#ifndef TOKEN_SAMPLER_CUDA_LANE_POOL_H_
#define TOKEN_SAMPLER_CUDA_LANE_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda/lane.h"

namespace token_sampler::cuda {

// Thread-safe.
class LanePool {
 public:
  static constexpr int kAnyDevice = -1;

  explicit LanePool(std::vector<std::unique_ptr<Lane>> lanes);

  size_t size() const { return size_; }
  bool Has(int device) const { return devices_.contains(device); }

  // Waits for a lane of a device that the pool has, or of any. A thread that takes several takes
  // them in ascending order of their devices, so that no two wait for each other. The error of a
  // device that is lost.
  absl::StatusOr<std::unique_ptr<Lane>> Take(int device);

  // Whatever `status` the call ended with. The error when that has lost the device, once.
  absl::Status GiveBack(std::unique_ptr<Lane> lane, const absl::Status& status);

  // Why no call can succeed any more.
  absl::Status lost() const;

 private:
  std::unique_ptr<Lane> TakeIdle(int device);

  const size_t size_;
  const std::set<int> devices_;
  mutable std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Lane>> idle_;  // guarded by mutex_
  absl::Status lost_;                        // guarded by mutex_
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LANE_POOL_H_
