#include "server/kserve/inference_statistics.h"

#include <algorithm>
#include <chrono>

#include "server/kserve/sampler_model.h"

namespace token_sampler {
namespace {

void Add(TimePoint from, TimePoint to, inference::StatisticDuration& total) {
  // The clock may have been set back meanwhile.
  const auto duration = std::max(to - from, TimePoint::duration::zero());
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  total.set_count(total.count() + 1);
  total.set_ns(total.ns() + static_cast<uint64_t>(ns));
}

}  // namespace

void InferenceStatistics::CountSuccess(const InferenceTimes& times, uint64_t rows) {
  MutexLock lock(mutex_);
  const auto since_epoch = times.answered.time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
  total_.set_last_inference(static_cast<uint64_t>(ms));
  total_.set_inference_count(total_.inference_count() + rows);
  total_.set_execution_count(total_.execution_count() + 1);
  inference::InferStatistics& spent = *total_.mutable_inference_stats();
  Add(times.received, times.answered, *spent.mutable_success());
  Add(times.received, times.queued, *spent.mutable_compute_input());
  Add(times.queued, times.taken, *spent.mutable_queue());
  Add(times.taken, times.sampled, *spent.mutable_compute_infer());
  Add(times.sampled, times.answered, *spent.mutable_compute_output());
}

void InferenceStatistics::CountFailure(TimePoint received, TimePoint answered) {
  MutexLock lock(mutex_);
  Add(received, answered, *total_.mutable_inference_stats()->mutable_fail());
}

inference::ModelStatistics InferenceStatistics::Get() const {
  MutexLock lock(mutex_);
  inference::ModelStatistics statistics = total_;
  statistics.set_name(kModelName);
  statistics.set_version(kModelVersion);
  return statistics;
}

}  // namespace token_sampler
