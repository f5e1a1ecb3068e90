// The lanes of all devices, which calls take in turn.

#ifndef TOKEN_SAMPLER_CUDA_LAUNCH_LANE_POOL_H_
#define TOKEN_SAMPLER_CUDA_LAUNCH_LANE_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda/launch/lane.h"
#include "cuda/plan/call_plan.h"

namespace token_sampler::cuda {

// Thread-safe.
class LanePool {
 public:
  explicit LanePool(std::vector<std::unique_ptr<Lane>> lanes);

  size_t size() const { return size_; }
  bool Has(int device) const { return capacities_.contains(device); }
  // True if the device in whose memory the row is, or each device if it is in none, has room for a
  // row that the kernel takes.
  bool Fits(const RowInput& row) const;

  // Waits for a lane of `device`, which the pool must have, or of kAnyDevice. A thread that takes
  // several lanes must take them in ascending order of their devices, so that no two threads wait
  // for each other. Returns the error if a device is lost.
  absl::StatusOr<std::unique_ptr<Lane>> Take(int device);

  // Gives a lane back after a call that ended with `status`, and recovers it after an error.
  // Returns the error if the device turns out to be lost, but only to the first caller.
  absl::Status GiveBack(std::unique_ptr<Lane> lane, const absl::Status& status);

  // The error by which a device was lost, after which no call can succeed; OK before.
  absl::Status lost() const;

 private:
  std::unique_ptr<Lane> TakeIdle(int device);

  const size_t size_;
  const std::map<int, LaneCapacity> capacities_;  // by device
  mutable std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Lane>> idle_;  // guarded by mutex_
  absl::Status lost_;                        // guarded by mutex_
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LAUNCH_LANE_POOL_H_
