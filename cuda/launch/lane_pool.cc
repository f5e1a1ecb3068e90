#include "cuda/launch/lane_pool.h"

#include <algorithm>
#include <utility>

#include "sampler/rows/row_source.h"
#include "sampler/status_macros.h"

namespace token_sampler::cuda {
namespace {

std::map<int, LaneCapacity> CapacitiesOf(const std::vector<std::unique_ptr<Lane>>& lanes) {
  std::map<int, LaneCapacity> capacities;
  for (const std::unique_ptr<Lane>& lane : lanes) {
    capacities.emplace(lane->device(), lane->capacity());
  }
  return capacities;
}

}  // namespace

LanePool::LanePool(std::vector<std::unique_ptr<Lane>> lanes)
    : size_(lanes.size()), capacities_(CapacitiesOf(lanes)), idle_(std::move(lanes)) {}

bool LanePool::Fits(const RowInput& row) const {
  const DeviceMemory* const memory = DeviceMemoryOf(row);
  if (memory != nullptr && Has(memory->device)) return capacities_.at(memory->device).Fits(row);
  return std::all_of(capacities_.begin(), capacities_.end(),
                     [&row](const auto& entry) { return entry.second.Fits(row); });
}

absl::StatusOr<std::unique_ptr<Lane>> LanePool::Take(int device) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::unique_ptr<Lane> lane;
  returned_.wait(lock, [&] { return !lost_.ok() || (lane = TakeIdle(device)) != nullptr; });
  RETURN_IF_ERROR(lost_);
  return lane;
}

// Takes the lane that has been idle for longest, so that calls rotate through the devices.
std::unique_ptr<Lane> LanePool::TakeIdle(int device) {
  for (auto lane = idle_.begin(); lane != idle_.end(); ++lane) {
    if (device != kAnyDevice && (*lane)->device() != device) continue;
    std::unique_ptr<Lane> taken = std::move(*lane);
    idle_.erase(lane);
    return taken;
  }
  return nullptr;
}

absl::Status LanePool::GiveBack(std::unique_ptr<Lane> lane, const absl::Status& status) {
  absl::Status recovered = status.ok() ? status : lane->Recover();
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(lane));
  const bool lost_now = lost_.ok() && !recovered.ok();
  if (lost_now) lost_ = recovered;
  returned_.notify_all();
  return lost_now ? recovered : absl::OkStatus();
}

absl::Status LanePool::lost() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return lost_;
}

}  // namespace token_sampler::cuda
