#include "server/batching/batcher.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

constexpr char kStopped[] = "the server is shutting down";
constexpr char kExpired[] = "the deadline passed before the rows were sampled";
constexpr char kCallerGone[] = "the caller has gone";

}  // namespace

absl::Status SamplingJob::Run(Sampler& sampler) {
  results.resize(rows.size());
  return sampler.Sample(rows, absl::MakeSpan(results));
}

Batcher::Batcher(Sampler& sampler, const BatcherOptions& options, const Clock& clock)
    : sampler_(sampler), options_(options), clock_(clock) {
  const int executors =
      options_.num_executors > 0 ? options_.num_executors : sampler.parallel_calls();
  for (int i = 0; i < executors; ++i) {
    executors_.emplace_back([this] { RunExecutor(); });
  }
}

Batcher::~Batcher() { Stop(); }

absl::Status Batcher::Submit(std::shared_ptr<SamplingJob> job) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return absl::UnavailableError(kStopped);
    if (job->cancelled_) return absl::CancelledError(kCallerGone);
    const uint64_t rows = queued_rows_ + job->rows.size();
    const uint64_t bytes = queued_bytes_ + job->bytes;
    if (!queue_.empty() && (rows > options_.max_queued_rows || bytes > options_.max_queued_bytes)) {
      ++counters_.refused;
      return absl::ResourceExhaustedError(
          absl::StrCat("the queue is full: with this call it would hold ", rows, " of at most ",
                       options_.max_queued_rows, " rows and ", bytes, " of at most ",
                       options_.max_queued_bytes, " bytes"));
    }
    queued_rows_ = rows;
    queued_bytes_ = bytes;
    SamplingJob& queued = *job;
    queued.position_ = queue_.insert(queue_.end(), std::move(job));
    queued.queued_ = true;
  }
  job_added_.NotifyOne();
  return absl::OkStatus();
}

void Batcher::Cancel(SamplingJob& job) {
  std::shared_ptr<SamplingJob> dropped;
  {
    MutexLock lock(mutex_);
    job.cancelled_ = true;
    if (!job.queued_) return;
    dropped = RemoveFromQueue(job.position_);
    ++counters_.dropped;
  }
  dropped->Done(dropped->deadline < clock_.Now() ? absl::DeadlineExceededError(kExpired)
                                                 : absl::CancelledError(kCallerGone));
}

void Batcher::Stop() {
  Jobs left;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    while (!queue_.empty()) left.push_back(RemoveFromQueue(queue_.begin()));
  }
  job_added_.NotifyAll();
  for (const auto& job : left) job->Done(absl::UnavailableError(kStopped));
  for (std::thread& executor : executors_) executor.join();
  executors_.clear();
}

BatcherCounters Batcher::counters() const {
  MutexLock lock(mutex_);
  BatcherCounters counters = counters_;
  counters.waiting = queue_.size();
  return counters;
}

std::shared_ptr<SamplingJob> Batcher::RemoveFromQueue(Queue::iterator position) {
  std::shared_ptr<SamplingJob> job = std::move(*position);
  queue_.erase(position);
  job->queued_ = false;
  queued_rows_ -= job->rows.size();
  queued_bytes_ -= job->bytes;
  return job;
}

void Batcher::RunExecutor() {
  Jobs batch;
  Jobs dropped;
  while (TakeJobs(batch, dropped)) {
    for (const auto& job : dropped) {
      job->Done(absl::DeadlineExceededError(kExpired));
    }
    if (!batch.empty()) SampleJobs(batch);
    batch.clear();
    dropped.clear();
  }
}

bool Batcher::TakeJobs(Jobs& batch, Jobs& dropped) {
  MutexLock lock(mutex_);
  while (queue_.empty() && !stopping_) job_added_.Wait(mutex_);
  if (stopping_) return false;
  const TimePoint now = clock_.Now();
  uint64_t batch_rows = 0;
  while (!queue_.empty()) {
    SamplingJob& job = *queue_.front();
    const bool drop = job.deadline < now;
    if (!drop) {
      const bool full = batch_rows + job.rows.size() > options_.max_batch_rows;
      if (!batch.empty() && (full || job.runs_alone || batch.front()->runs_alone)) break;
      batch_rows += job.rows.size();
      job.taken = now;
    }
    (drop ? dropped : batch).push_back(RemoveFromQueue(queue_.begin()));
  }
  counters_.dropped += dropped.size();
  if (!batch.empty()) ++counters_.batches;
  counters_.rows += batch_rows;
  return true;
}

void Batcher::SampleJobs(Jobs& batch) {
  if (batch.size() == 1) {
    SamplingJob& job = *batch.front();
    job.Done(job.Run(sampler_));
    return;
  }
  std::vector<RowInput> rows;
  for (const auto& job : batch) rows.insert(rows.end(), job->rows.begin(), job->rows.end());
  std::vector<RowResult> results(rows.size());
  const absl::Status status = sampler_.Sample(rows, absl::MakeSpan(results));
  auto first = results.begin();
  for (const auto& job : batch) {
    const auto last = first + static_cast<std::ptrdiff_t>(job->rows.size());
    job->results.assign(std::make_move_iterator(first), std::make_move_iterator(last));
    first = last;
    job->Done(status);
  }
}

}  // namespace token_sampler
